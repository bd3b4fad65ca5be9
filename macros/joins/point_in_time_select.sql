{# The SQL of the point-in-time join, from checked arguments. Semantics: docs/guides/point-in-time.md.

   A row counts from the moment both its times have passed, the later of the two, so "known at t" is one inequality. Among
   the rows that count, the newest event wins, but DuckDB's ASOF join takes the row that began to count last. The two agree
   once every row is dropped that another one had overtaken when it began to count. Only two kinds of rows can be:
   - a late one (known after its event), by a newer event that counted no later. All rows that can overtake it lie between
     its event and its availability; looking for them there alone spares sorting a history that has few late rows.
   - an early one (known before its event), by a later revision of the same event that was known by then too.
   A history with neither costs what the bare ASOF join costs. #}
{% macro duckdb__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}

    {% set asked = feature_warehouse._quoted(spine_timestamp) %}

    with

        spine as (
            select *
            from {{ spine }}
            {% if not spine_columns %}
                where
                    {{ feature_warehouse._instant_or_error(
                        asked, feature_warehouse._naive_spine(spine_timestamp, none, "point_in_time_join")
                    ) }}
            {% endif %}
        ),

        {% for read in reads %}
            {% set view = read.view %}
            {% set event = feature_warehouse._quoted(view.event_timestamp) %}
            {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
            {% set key_columns = feature_warehouse._quoted(read["keys"].keys()) %}

            -- {{ view.id }}: the rows that happened and were known
            rows_{{ loop.index }} as {{ "not materialized" if view.stored else "materialized" }} (
                select
                    {% for key in key_columns %} {{ key }}, {% endfor %}
                    {{ event }} as __event,
                    {{ known }} as __known,
                    {{ "greatest(" ~ event ~ ", " ~ known ~ ")" if view.available_at else event }} as __since,
                    {% if view.deleted %}
                        coalesce({{ feature_warehouse._quoted(view.deleted) }}, false) as __deleted,
                    {% endif %}
                    {{ feature_warehouse._quoted(read["columns"].keys()) | join(", ") }}
                from {{ view.relation }}
                where
                    {{ event }} is not null
                    {% if view.available_at %} and {{ known }} is not null {% endif %}
                    {% if known_as_of %} and {{ known }} <= timestamptz '{{ known_as_of }}' {% endif %}
            ),

            {% if view.available_at %}
                {% set rows = "rows_" ~ loop.index %}
                {% set keys = key_columns | join(", ") %}

                -- for each entity, from its first late event to its last late availability
                late_{{ loop.index }} as (
                    select {{ keys }}, min(__event) as __first_event, max(__known) as __last_known
                    from {{ rows }}
                    where __known > __event
                    group by {{ keys }}
                ),

                overtaken_{{ loop.index }} as (
                    select {{ keys }}, __event, __known
                    from {{ rows }}
                    inner join late_{{ loop.index }} using ({{ keys }})
                    where __event >= __first_event and __since <= __last_known
                    qualify __event < max(__event) over (partition by {{ keys }} order by __since)
                    union all
                    select {{ keys }}, __event, __known
                    from {{ rows }} as early
                    where
                        __known < __event
                        and exists (
                            select 1
                            from {{ rows }} as revision
                            where
                                {% for key in key_columns %} revision.{{ key }} = early.{{ key }} and {% endfor %}
                                revision.__event = early.__event
                                and revision.__known > early.__known
                                and revision.__known <= early.__event
                        )
                ),

                history_{{ loop.index }} as (
                    select * from {{ rows }} anti join overtaken_{{ loop.index }} using ({{ keys }}, __event, __known)
                ),
            {% else %} history_{{ loop.index }} as (select * from rows_{{ loop.index }}),
            {% endif %}
        {% endfor %}

        {# What is unknown matches nothing: DuckDB 1.5's ASOF join gives it other rows' values. No struct of the features: the
           loops that join a few spine rows turn -0.0 in it into 0.0 (in a list they still do). #}
        final as (
            select
                spine.*,
                {% for read in reads %}
                    {% set history = "history_" ~ loop.index %}
                    {% set last_read = loop.last %}
                    {% for feature, output in read["columns"].items() %}
                        case
                            when
                                spine.{{ asked }} is not null
                                {% for column in feature_warehouse._quoted(read["keys"].values()) %}
                                    and spine.{{ column }} is not null
                                {% endfor %}
                                {% if read.view.deleted %} and not {{ history }}.__deleted {% endif %}
                                {% if read.view.ttl_seconds is not none %}
                                    and {{ history }}.__event
                                    >= spine.{{ asked }} - {{ feature_warehouse._interval(read.view.ttl_seconds) }}
                                {% endif %}
                            then {{ history }}.{{ feature_warehouse._quoted(feature) }}
                        end as {{ feature_warehouse._quoted(output) }}{{ "," if not (last_read and loop.last) }}
                    {% endfor %}
                {% endfor %}
            from spine
            {% for read in reads %}
                    {% set delay = read.view.sync_delay_seconds %}
                asof left join
                    history_{{ loop.index }}
                    on {{ feature_warehouse._same_keys(read["keys"], "history_" ~ loop.index) }}
                    and spine.{{ asked }} {{ "- " ~ feature_warehouse._interval(delay) if delay }}
                    {{ ">=" if allow_equal else ">" }} history_{{ loop.index }}.__since
            {% endfor %}
        )

        {% if on_demand %} {{ feature_warehouse._select_on_demand(on_demand) }}
    {% else %} select * from final
    {% endif %}

{% endmacro %}

{% macro default__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}
    {% do feature_warehouse._no_form("point_in_time_join", "point_in_time_select") %}
{% endmacro %}

{% macro _same_keys(keys, alias) %}
    {%- for key, column in keys.items() -%}
        spine.{{ feature_warehouse._quoted(column) }}
        = {{ alias }}.{{ feature_warehouse._quoted(key) }}{{ " and " if not loop.last }}
    {%- endfor -%}
{% endmacro %}

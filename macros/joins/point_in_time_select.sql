{# The SQL of the point-in-time join, from checked arguments. Semantics: docs/guides/point-in-time.md.

   A row counts from the moment both its times have passed, the later of the two, so "known at t" is one inequality. Among
   the rows that count, the newest event wins, but DuckDB's ASOF join takes the row that began to count last. The two agree
   once every row is dropped that a newer event had overtaken when it began to count: what is left is newer in event time
   whenever it is newer in counting. Revisions of one event that began to count together (available by then, all of them)
   are told apart by their availability. #}
{% macro duckdb__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}

    with

        spine as (
            select *
            from {{ spine }}
            {% if not spine_columns %}
                where
                    case
                        when typeof({{ spine_timestamp }}) = 'TIMESTAMP WITH TIME ZONE'
                        then true
                        else
                            error(
                                {{ dbt.string_literal(
                                    dbt.escape_single_quotes(
                                        feature_warehouse._naive_spine(spine_timestamp, none, "point_in_time_join")
                                    )
                                ) }}
                            )
                    end
            {% endif %}
        ),

        {% for read in reads %}
            {% set view = read.view %}
            {% set event = view.event_timestamp %}
            {% set known = view.available_at or event %}
            {% set counts_from = "greatest(" ~ event ~ ", " ~ known ~ ")" if view.available_at else event %}

            -- {{ view.id }}: its rows, less those overtaken before they counted
            history_{{ loop.index }} as (
                select
                    {% for key in read["keys"] %} {{ key }}, {% endfor %}
                    {{ event }} as event_time,
                    struct_pack(counts_from := {{ counts_from }}, available := {{ known }}) as since,
                    {{ feature_warehouse._feature_struct(read) }} as features
                from {{ view.relation }}
                where
                    {{ event }} is not null
                    {% if view.available_at %} and {{ known }} is not null {% endif %}
                    {% if known_as_of %} and {{ known }} <= timestamptz '{{ known_as_of }}' {% endif %}
                {% if view.available_at %}
                    qualify
                        {{ event }} = max({{ event }}) over (
                            partition by {{ read["keys"].keys() | join(", ") }} order by {{ counts_from }}
                        )
                {% endif %}
            ),
        {% endfor %}

        matched as (
            select
                spine.*,
                {% for read in reads %}
                    case
                        when
                            -- what is unknown matches nothing, but NULL in a struct compares as the largest value
                            spine.{{ spine_timestamp }} is not null
                            {% for column in read["keys"].values() %} and spine.{{ column }} is not null {% endfor %}
                            {% if read.view.ttl_seconds is not none %}
                                and history_{{ loop.index }}.event_time
                                >= spine.{{ spine_timestamp }}
                                - {{ feature_warehouse._interval(read.view.ttl_seconds) }}
                            {% endif %}
                        then history_{{ loop.index }}.features
                    end as __features_{{ loop.index }}{{ "," if not loop.last }}
                {% endfor %}
            from spine
            {% for read in reads %}
                    {% set delay = read.view.sync_delay_seconds %}
                asof left join
                    history_{{ loop.index }}
                    on {{ feature_warehouse._same_keys(read["keys"], "history_" ~ loop.index) }}
                    and struct_pack(
                        counts_from := spine.{{ spine_timestamp }}
                        {{ "- " ~ feature_warehouse._interval(delay) if delay }},
                        available := timestamptz '{{ "infinity" if allow_equal else "-infinity" }}'
                    )
                    {{ ">=" if allow_equal else ">" }} history_{{ loop.index }}.since
            {% endfor %}
        ),

        final as (
            select
                * exclude ({% for read in reads %}__features_{{ loop.index }}{{ ", " if not loop.last }}{% endfor %}),
                {% for read in reads %}
                    {% set i = loop.index %}
                    {% set last_read = loop.last %}
                    {% for feature, output in read["columns"].items() %}
                        __features_{{ i }}.{{ feature }} as {{ output }}{{ "," if not (last_read and loop.last) }}
                    {% endfor %}
                {% endfor %}
            from matched
        )

    select {{ feature_warehouse._with_on_demand(on_demand) }}
    from final

{% endmacro %}

{# Portable form: every known row of a spine row's key, ranked. Slower where an entity has many rows. #}
{% macro default__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}

    {% set comparison = "<=" if allow_equal else "<" %}

    {% if not spine_columns %}
        {% do exceptions.raise_compiler_error(
            "point_in_time_join: the columns of the spine " ~ spine ~ " are unknown. Build it first, as a table or a view."
        ) %}
    {% endif %}

    with

        spine as (select *, row_number() over (order by {{ spine_timestamp }}) as __spine_row from {{ spine }}),

        {% for read in reads %}
            {% set view = read.view %}
            {% set known = view.available_at or view.event_timestamp %}
            {% set delay = view.sync_delay_seconds %}
            {% set moment = (
                "spine." ~ spine_timestamp ~ (" - " ~ feature_warehouse._interval(delay) if delay else "")
            ) %}

            -- {{ view.id }}: rows known at the time of each spine row, newest event first
            known_{{ loop.index }} as (
                select
                    spine.__spine_row,
                    {% for feature in read["columns"] %} history.{{ feature }},{% endfor %}
                    {% if view.deleted %} coalesce(history.{{ view.deleted }}, false)
                    {% else %} false
                    {% endif %} as __deleted,
                    history.{{ view.event_timestamp }} as __event_time,
                    row_number() over (
                        partition by spine.__spine_row
                        order by history.{{ view.event_timestamp }} desc, history.{{ known }} desc
                    ) as __rank
                from spine
                inner join
                    {{ view.relation }} as history
                    on {{ feature_warehouse._same_keys(read["keys"], "history") }}
                    and history.{{ view.event_timestamp }} {{ comparison }} {{ moment }}
                    and history.{{ known }} {{ comparison }} {{ moment }}
                {% if known_as_of %} and history.{{ known }} <= timestamp with time zone '{{ known_as_of }}' {% endif %}
            ),
        {% endfor %}

        final as (
            select
                {% for column in spine_columns %} spine.{{ column }},{% endfor %}
                {% for read in reads %}
                    {% set i = loop.index %}
                    {% set last_read = loop.last %}
                    {% for feature, output in read["columns"].items() %}
                        known_{{ i }}.{{ feature }} as {{ output }}{{ "," if not (last_read and loop.last) }}
                    {% endfor %}
                {% endfor %}
            from spine
            {% for read in reads %}
                    {% set i = loop.index %}
                left join
                    known_{{ i }}
                    on spine.__spine_row = known_{{ i }}.__spine_row
                    and known_{{ i }}.__rank = 1
                    and not known_{{ i }}.__deleted
                    {% if read.view.ttl_seconds is not none %}
                        and known_{{ i }}.__event_time
                        >= spine.{{ spine_timestamp }} - {{ feature_warehouse._interval(read.view.ttl_seconds) }}
                    {% endif %}
            {% endfor %}
        )

    select {{ feature_warehouse._with_on_demand(on_demand) }}
    from final

{% endmacro %}

{% macro _same_keys(keys, alias) %}
    {%- for key, column in keys.items() -%}
        spine.{{ column }} = {{ alias }}.{{ key }}{{ " and " if not loop.last }}
    {%- endfor -%}
{% endmacro %}

{# All features of one row as one value: NULL for a tombstone, so that a deleted entity has no features. #}
{% macro _feature_struct(read) %}
    {%- set deleted = read.view.deleted -%}
    {%- if deleted %}
        case when not coalesce({{ deleted }}, false) then
    {% endif -%}
            struct_pack(
                {%- for feature in read["columns"] %}
                    {{ feature }} := {{ feature }}{{ ", " if not loop.last }}
                {% endfor -%}
            )
    {%- if deleted %} end{% endif -%}
{% endmacro %}

{% macro _with_on_demand(on_demand) %}
    * {%- for feature in on_demand %}
        , cast({{ feature.expression }} as {{ feature.data_type }}) as {{ feature.name }}
    {%- endfor -%}
{% endmacro %}

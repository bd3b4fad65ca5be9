{# The join in plain SQL: every known row of a spine row's key, ranked. Slower where an entity has many rows. The numbered rows
   of the spine are read more than once, so it is only for databases that compute such a CTE once, as DuckDB and PostgreSQL
   do: one that puts its text into each place may number equal rows otherwise there. #}
{% macro portable__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}

    {% set comparison = "<=" if allow_equal else "<" %}

    {% if on_demand %} {% do feature_warehouse._no_on_demand(on_demand) %} {% endif %}

    {% if not spine_columns %}
        {% do exceptions.raise_compiler_error(
            "point_in_time_join: the columns of the spine " ~ spine ~ " are unknown. Build it first, as a table or a view."
        ) %}
    {% endif %}

    {% set asked = feature_warehouse._quoted(spine_timestamp) %}

    with

        spine as (
            select *, row_number() over (order by {{ asked }}) as __spine_row
            from {{ feature_warehouse._aliased(spine, "given") }}
        ),

        {% for read in reads %}
            {% set view = read.view %}
            {% set event = "history." ~ feature_warehouse._quoted(view.event_timestamp) %}
            {% set known = "history." ~ feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
            {% set delay = view.sync_delay_seconds %}
            {% set moment = (
                "spine." ~ asked ~ (" - " ~ feature_warehouse._interval(delay) if delay else "")
            ) %}

            -- {{ view.id }}: rows known at the time of each spine row, newest event first
            known_{{ loop.index }} as (
                select
                    spine.__spine_row,
                    {% for feature in feature_warehouse._quoted(read["columns"].keys()) %}
                        history.{{ feature }},
                    {% endfor %}
                    {% if view.deleted %} coalesce(history.{{ feature_warehouse._quoted(view.deleted) }}, false)
                    {% else %} false
                    {% endif %} as __deleted,
                    {{ event }} as __event_time,
                    row_number() over (
                        partition by spine.__spine_row order by {{ event }} desc, {{ known }} desc
                    ) as __rank
                from spine
                inner join
                    {{ view.relation }} as history
                    on {{ feature_warehouse._same_keys(read["keys"], "history") }}
                    and {{ event }} {{ comparison }} {{ moment }}
                    and {{ known }} {{ comparison }} {{ moment }}
                    {% if known_as_of %} and {{ known }} <= {{ feature_warehouse._instant(known_as_of) }} {% endif %}
            ),
        {% endfor %}

        final as (
            select
                {% for column in feature_warehouse._quoted(spine_columns) %} spine.{{ column }},{% endfor %}
                {% for read in reads %}
                    {% set i = loop.index %}
                    {% set last_read = loop.last %}
                    {% for feature, output in read["columns"].items() %}
                        known_{{ i }}.{{ feature_warehouse._quoted(feature) }}
                        as {{ feature_warehouse._quoted(output) }}{{ "," if not (last_read and loop.last) }}
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
                        >= spine.{{ asked }} - {{ feature_warehouse._interval(read.view.ttl_seconds) }}
                    {% endif %}
            {% endfor %}
        )

    select *
    from final

{% endmacro %}

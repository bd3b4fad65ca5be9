{# The windows in plain SQL: every row with every event of the longest window. Slow where a window holds many events. #}
{% macro portable__rolling_select(
    events, join_keys, event_timestamp, available_at, plan, changed_since
) %}

    {% set key_columns = feature_warehouse._quoted(join_keys) %}
    {% set keys = key_columns | join(", ") %}
    {% set ranked = plan.features | selectattr("aggregate", "in", ["last", "last_n"]) | map(attribute="value") | unique | list %}

    with

        {{ feature_warehouse._rolling_events(events, join_keys, event_timestamp, available_at, plan, changed_since) }}

        steps as (
            select {{ keys }}, __counts_from as __at, __known_at
            from events

            {% for window in plan.windows %}
                union all
                select {{ keys }}, __event_time + {{ feature_warehouse._interval(window) }} as __at, __known_at
                from events
                where __counts_from < __event_time + {{ feature_warehouse._interval(window) }}
            {% endfor %}
        ),

        points as (
            select {{ keys }}, __at, max(__known_at) as __known_at
            from steps
            {% if changed_since is not none %} where __at >= (select __since from since) {% endif %}
            group by {{ keys }}, __at
        ),

        held as (
            select
                {% for key in key_columns %} points.{{ key }}, {% endfor %}
                points.__at,
                points.__known_at,
                events.__event_time
                {% for value in plan["values"] %}, events.{{ value }} {% endfor %}
                {% for value in ranked %}
                    ,
                    row_number() over (
                        partition by {% for key in key_columns %} points.{{ key }}, {% endfor %} points.__at
                        order by
                            case when events.__event_time is null then 1 else 0 end,
                            events.__event_time desc,
                            events.__known_at desc,
                            case when events.{{ value }} is null then 1 else 0 end,
                            events.{{ value }} desc
                    ) as {{ value }}_rank,
                    row_number() over (
                        partition by
                            {% for key in key_columns %} points.{{ key }}, {% endfor %}
                            points.__at,
                            case when events.{{ value }} is null then 1 else 0 end
                        order by events.__event_time desc, events.__known_at desc, events.{{ value }} desc
                    ) as {{ value }}_rank_known
                {% endfor %}
            from points
            left join
                events
                on {% for key in key_columns %}
                    points.{{ key }} = events.{{ key }} and
                {% endfor %} events.__counts_from
                <= points.__at
                and events.__event_time > points.__at - {{ feature_warehouse._interval(plan.windows[0]) }}
        ),

        final as (
            select
                {{ keys }},
                {% for feature in plan.features %}
                    {{ feature_warehouse._portable_rolling_result(feature) }}
                    as {{ feature_warehouse._quoted(feature.name) }},
                {% endfor %}
                __at as event_at,
                __known_at as known_at
            from held
            group by {{ keys }}, __at, __known_at
        )

    select *
    from final

{% endmacro %}

{% macro _portable_rolling_result(feature) %}

    {% set value = feature.value %}
    {% set held = "__event_time > __at - " ~ feature_warehouse._interval(feature.window) %}
    {% set known = "case when " ~ held ~ " then " ~ (value or "1") ~ " end" %}

    {% set result %}
        {% if feature.aggregate == "count" %} count({{ known }})
        {% elif feature.aggregate == "sum" %} coalesce(sum({{ known }}), 0)
        {% elif feature.aggregate in ["avg", "rate"] %}
            cast(sum({{ known }}) as double precision) / nullif(count({{ known }}), 0)
        {% elif feature.aggregate in ["min", "max"] %} {{ feature.aggregate }}({{ known }})
        {% elif feature.aggregate == "stddev" %}
            {# Sums of equal doubles may round away from them. #}
            case
                when count({{ known }}) > 1 and min({{ known }}) = max({{ known }})
                then 0
                else cast(stddev_samp({{ known }}) as double precision)
            end
        {% elif feature.aggregate == "count_distinct" %} count(distinct {{ known }})
        {% elif feature.aggregate == "last" %}
            {% set ranked = value ~ "_rank" %}
            ({{ feature_warehouse._list_in_order(value, ranked, ranked ~ " = 1 and " ~ held) }})[1]
        {% else %}
            {{ feature_warehouse._list_in_order(
                value,
                value ~ "_rank_known",
                held ~ " and " ~ value ~ " is not null and " ~ value ~ "_rank_known <= " ~ feature.n,
            ) }}
        {% endif %}
    {% endset %}

    {% set data_type = feature_warehouse._sql_type(feature.data_type) if feature.data_type %}

    {{ return("cast(" ~ result ~ " as " ~ data_type ~ ")" if data_type else result) }}

{% endmacro %}

{# The SQL of rolling_features, from checked arguments. Semantics: docs/reference/windows.md.

   An event counts in a window from __counts_from (when it has both happened and become known) until it is as old as the
   window. Its entity gets a row at each of these instants, so between two rows nothing changes. The availabilities behind a
   row are never later than the row's own instant, so a join sees every row from its event time on.

   Three forms, none of which compares every row with every event:
   - count, rate, sum, avg: +x where an event enters, -x where it leaves, and a running sum; in integers and decimals, so
     nothing is left behind (doubles in two integers, see _halves). Of equal values (count_distinct), each stands only for
     the time that no earlier one covers.
   - min, max, stddev, and sums of unknown type: a tree over the rows, whose node (level, n) stands for the rows from
     n * 2^level to just before (n + 1) * 2^level. An event goes into the few nodes that make up its time, a row looks up its
     one node of each level. Whole aggregates are put together; nothing is ever subtracted.
   - last, last_n: the newest events known at a row, whatever the window; then those that the window still holds. #}
{% macro duckdb__rolling_select(
    events, join_keys, event_timestamp, available_at, plan, changed_since
) %}

    {% set key_columns = feature_warehouse._quoted(join_keys) %}
    {% set keys = key_columns | join(", ") %}
    {% set parts = feature_warehouse._rolling_parts(plan) %}

    with

        {{ feature_warehouse._rolling_events(events, join_keys, event_timestamp, available_at, plan, changed_since) }}

        {% for part in parts.distinct %}
            -- the time of each event that no earlier event of the same value covers
            {{ part.name }} as (
                select
                    {{ keys }},
                    greatest(
                        __counts_from,
                        coalesce(
                            max(__event_time) over (
                                partition by {{ keys }}, {{ part.value }}
                                order by __counts_from, __event_time
                                rows between unbounded preceding and 1 preceding
                            )
                            + {{ feature_warehouse._interval(part.window) }},
                            __counts_from
                        )
                    ) as __from,
                    __event_time + {{ feature_warehouse._interval(part.window) }} as __until
                from events
                where
                    {{ part.value }} is not null
                    and __counts_from < __event_time + {{ feature_warehouse._interval(part.window) }}
                qualify __from < __until
            ),
        {% endfor %}

        {% for part in parts.newest %}
            -- the newest events known at each instant
            {{ part.name }} as (
                select
                    {{ keys }},
                    __counts_from as __at,
                    max(
                        struct_pack(
                            event_time := __event_time,
                            known_at := __known_at,
                            is_known := {{ part.value }} is not null,
                            value := {{ part.value }}
                        )
                        {{ ", " ~ part.n if part.n }}
                    ) over (partition by {{ keys }} order by __counts_from) as __newest
                from events
                {% if part.n %} where {{ part.value }} is not null {% endif %}
                qualify row_number() over (partition by {{ keys }}, __counts_from) = 1
            ),
        {% endfor %}

        -- what enters and what leaves
        steps as (
            select
                {{ keys }},
                __counts_from as __at,
                __known_at
                {% for lane in parts.lanes %}
                    ,
                    case
                        when __counts_from < __event_time + {{ feature_warehouse._interval(lane.window) }}
                        then {{ lane.expression }}
                    end as {{ lane.name }}
                {% endfor %}
                {% for part in parts.distinct %}, null as {{ part.name }} {% endfor %}
            from events

            {% for window in plan.windows %}
                union all
                select
                    {{ keys }},
                    __event_time + {{ feature_warehouse._interval(window) }} as __at,
                    __known_at
                    {% for lane in parts.lanes %}
                        , {{ "-(" ~ lane.expression ~ ")" if lane.window == window else "null" }} as {{ lane.name }}
                    {% endfor %}
                    {% for part in parts.distinct %}, null as {{ part.name }} {% endfor %}
                from events
                where __counts_from < __event_time + {{ feature_warehouse._interval(window) }}
            {% endfor %}

            {% for part in parts.distinct %}
                {% for column, step in [("__from", 1), ("__until", -1)] %}
                    union all
                    select
                        {{ keys }},
                        {{ column }} as __at,
                        null as __known_at
                        {% for lane in parts.lanes %}, null as {{ lane.name }} {% endfor %}
                        {% for other in parts.distinct %}
                            , {{ step if other.name == part.name else "null" }} as {{ other.name }}
                        {% endfor %}
                    from {{ part.name }}
                {% endfor %}
            {% endfor %}
        ),

        running as (
            select
                {{ keys }},
                __at,
                __known_at,
                {% for lane in parts.lanes + parts.distinct %}
                    coalesce(sum({{ lane.name }}) over entity, 0) as {{ lane.name }},
                {% endfor %}
                lead(__at) over entity as __next_at
            from steps
            window
                entity as (
                    partition by {{ keys }}
                    order by __at, __known_at nulls first
                    rows between unbounded preceding and current row
                )
        ),

        -- the last step of each instant has seen them all, and has the newest availability
        {{ "numbered" if parts.trees else "points" }} as (
            select
                * exclude (__next_at)
                {% if parts.trees %}
                    ,
                    row_number() over (order by {{ keys }}, __at) as __row,
                    len(bin(count(*) over (partition by {{ keys }}))) as __levels
                {% endif %}
            from running
            where __next_at is null or __next_at > __at
        ),

        {% if parts.trees %} {{ feature_warehouse._rolling_tree(join_keys, parts.trees) }} {% endif %}

        final as (
            select
                {% for key in key_columns %} points.{{ key }}, {% endfor %}
                {% for feature in plan.features %}
                    {{ parts.results[feature.name] }} as {{ feature_warehouse._quoted(feature.name) }},
                {% endfor %}
                points.__at as event_at,
                points.__known_at as known_at
            from points
            {% for part in parts.newest %}
                asof left join
                    {{ part.name }}
                    on {% for key in key_columns %}
                        points.{{ key }} = {{ part.name }}.{{ key }} and
                    {% endfor %} points.__at
                    >= {{ part.name }}.__at
            {% endfor %}
            {% if changed_since is not none %} where points.__at >= (select __since from since) {% endif %}
        )

    select *
    from final
    {# A later run takes the rows from its instant on away again; in time order they lie in a few row groups. #}
    {% if changed_since is none and model.config.materialized == "incremental" %} order by event_at {% endif %}

{% endmacro %}

{% macro default__rolling_select(
    events, join_keys, event_timestamp, available_at, plan, changed_since
) %}
    {% do feature_warehouse._no_form("rolling_features", "rolling_select") %}
{% endmacro %}

{% macro postgres__rolling_select(
    events, join_keys, event_timestamp, available_at, plan, changed_since
) %}

    {% do feature_warehouse._only_for("postgres", "rolling_features", "rolling_select") %}

    {{ return(
        feature_warehouse.portable__rolling_select(
            events=events,
            join_keys=join_keys,
            event_timestamp=event_timestamp,
            available_at=available_at,
            plan=plan,
            changed_since=changed_since,
        )
    ) }}

{% endmacro %}

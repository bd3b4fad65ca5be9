{# The CTE of the events that count at some time: the keys, __event_time, __known_at, __counts_from, the values. With
   `changed_since` only what a row from that instant on can show: of entities about whom something became known since then,
   the events that some window still holds. #}
{% macro _rolling_events(events, join_keys, event_timestamp, available_at, plan, changed_since) %}

    {% set keys = feature_warehouse._quoted(join_keys) %}
    {% set event, known = feature_warehouse._quoted(event_timestamp), feature_warehouse._quoted(available_at) %}

    {% set usable %}
        {% for key in keys %} {{ key }} is not null and {% endfor %} {{ event }} is not null
        {% if available_at != event_timestamp %} and {{ known }} is not null {% endif %}
        {% for column in [event_timestamp, available_at] | unique %}
            and {{ feature_warehouse._instant_or_error(
                feature_warehouse._quoted(column), feature_warehouse._naive_event(column)
            ) }}
        {% endfor %}
    {% endset %}

    {% set counted %}
        select
            {% for key in keys %} {{ key }}, {% endfor %}
            {{ event }} as __event_time,
            {{ known }} as __known_at,
            greatest({{ event }}, {{ known }}) as __counts_from
            {% for name, expression in plan["values"].items() %}, {{ expression }} as {{ name }} {% endfor %}
        from {{ feature_warehouse._aliased(events, "given") }}
    {% endset %}

    {% if changed_since is none %} events as ({{ counted }} where {{ usable }}),
    {% else %}
        {# Bare comparisons with one value, so that DuckDB reads of the events no more than the row groups that may hold such
           rows: with an `or`, or a join in place of the value, it reads all of them. #}
        {% set since = "(select __since from since)" %}
        {% set held_since = "(select __since - " ~ feature_warehouse._interval(plan.windows[0]) ~ " from since)" %}

        -- NULL: nothing is there yet, so everything is new
        since as (select coalesce({{ changed_since }}, timestamptz '-infinity') as __since),

        changed as (
            select distinct {{ keys | join(", ") }}
            from {{ feature_warehouse._aliased(events, "given") }}
            where {{ usable }} and {{ known }} >= {{ since }}
        ),

        -- what some window still held then, and what was not known yet
        events as (
            {{ counted }}
            inner join changed using ({{ keys | join(", ") }})
            where {{ usable }} and {{ event }} > {{ held_since }}
            union all
            {{ counted }}
            inner join changed using ({{ keys | join(", ") }})
            where {{ usable }} and {{ event }} <= {{ held_since }} and {{ known }} >= {{ since }}
        ),
    {% endif %}

{% endmacro %}

{% macro _naive_event(column) %}
    {{ return(
        "rolling_features: the column "
        ~ column
        ~ " has no zone, so it names no instant. Convert it in a model before this one: "
        ~ feature_warehouse._as_instant(column)
        ~ " (or the zone its clock stood in)."
    ) }}
{% endmacro %}

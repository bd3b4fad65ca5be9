{# The CTE history_<i> of a read: the rows of its feature view that can count, with __event and __since, the instant from
   which each of them does; of two that count at one instant, only the one that wins. Of a read that is split, two of them:
   history_<i> has the rows that were known in time, late_<i> the others. #}
{% macro _history(read, i, known_as_of) %}
    {% if read.get("settled") %} {{ feature_warehouse._settled_rows(read, i, known_as_of) }}
    {% else %} {{ feature_warehouse._unsettled_rows(read, i, known_as_of) }}
    {% endif %}
{% endmacro %}

{# From its settled history, which has dropped the overtaken ones beforehand. #}
{% macro _settled_rows(read, i, known_as_of) %}

    {% set view = read.view %}
    {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}

    -- {{ view.id }}: the rows that ever count
    history_{{ i }} as not materialized(
        select
            {% for key in feature_warehouse._quoted(read["keys"].keys()) %} {{ key }}, {% endfor %}
            {{ feature_warehouse._quoted(view.event_timestamp) }} as __event,
            __since,
            {% if view.deleted %}
                coalesce({{ feature_warehouse._quoted(view.deleted) }}, false) as __deleted,
            {% endif %}
            {{ feature_warehouse._quoted(read["columns"].keys()) | join(", ") }}
        from {{ read.settled }}
        where
            __since is not null
            {% if known_as_of %}
                and {{ known }} <= timestamptz '{{ known_as_of }}'
                and (__overtaken_at is null or __overtaken_at > timestamptz '{{ known_as_of }}')
            {% else %} and __overtaken_at is null
            {% endif %}
    ),

{% endmacro %}

{# From the view itself, as _planned_reads has planned it. Only two kinds of rows can be overtaken:
   - a late one (known after its event), by a newer event that counted no later. All rows that can overtake it lie between
     its event and its availability; looking for them there alone spares sorting a history that has few late rows.
   - an early one (known before its event), by a later revision of the same event that was known by then too.
   A history with neither costs what the bare ASOF join costs.

   A deep history is split instead, and joined twice. A row that was known in time counts from its event, so that the newest
   of these that has happened is the one that an ASOF join takes, whatever came late. Of the late ones the newest event is
   found by one window over them alone. Of both, the label gets the newer event: the late one where they are revisions of one,
   since it was known later. #}
{% macro _unsettled_rows(read, i, known_as_of) %}

    {% set view = read.view %}
    {% set event = feature_warehouse._quoted(view.event_timestamp) %}
    {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
    {% set key_columns = feature_warehouse._quoted(read["keys"].keys()) %}

    {% if read.few %}
        asked_{{ i }} as (
            select
                {% for key, column in read["keys"].items() %}
                    {{ feature_warehouse._quoted(column) }} as {{ feature_warehouse._quoted(key) }}
                    {{- "," if not loop.last }}
                {% endfor %}
            from {{ read.asked.spine }}
        ),
    {% endif %}

    -- {{ view.id }}: the rows that happened and were known
    rows_{{ i }} as {{ "not materialized" if view.stored and not (read.few or read.brief) else "materialized" }} (
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
        {% if read.few %} semi join asked_{{ i }} using ({{ key_columns | join(", ") }}) {% endif %}
        where
            {{ event }} is not null
            {% if view.available_at %} and {{ known }} is not null {% endif %}
            {% if known_as_of %} and {{ known }} <= timestamptz '{{ known_as_of }}' {% endif %}
            {% if read.brief %}
                {# Older rows are beyond the ttl for all labels, and newer ones overtake nothing that a label could get. #}
                {% set asked = feature_warehouse._quoted(read.asked.timestamp) %}
                {% set first = "min(" ~ asked ~ ") - " ~ feature_warehouse._interval(view.ttl_seconds) %}
                and {{ event }} >= (select {{ first }} from {{ read.asked.spine }})
                {% for column in [event, known] | unique %}
                    and {{ column }} <= (select max({{ asked }}) from {{ read.asked.spine }})
                {% endfor %}
            {% endif %}
    ),

    {% set rows = "rows_" ~ i %}
    {% set keys = key_columns | join(", ") %}

    {% if read.split %}
        overtaken_{{ i }} as ({{ feature_warehouse._revised_early(rows, key_columns) }}),

        -- known in time: each from its event on
        history_{{ i }} as (
            select *
            from (select * from {{ rows }} where __known <= __event) as in_time
            anti join overtaken_{{ i }} using ({{ keys }}, __event, __known)
        ),

        -- known late: those that no newer event overtook that was late, too
        late_{{ i }} as (
            select *
            from {{ rows }}
            where __known > __event
            qualify __event >= max(__event) over (partition by {{ keys }} order by __known)
        ),
    {% elif view.available_at %}

        -- for each entity, from its first late event to its last late availability
        late_{{ i }} as (
            select {{ keys }}, min(__event) as __first_event, max(__known) as __last_known
            from {{ rows }}
            where __known > __event
            group by {{ keys }}
        ),

        overtaken_{{ i }} as (
            select {{ keys }}, __event, __known
            from {{ rows }}
            inner join late_{{ i }} using ({{ keys }})
            where __event >= __first_event and __since <= __last_known
            qualify __event < max(__event) over (partition by {{ keys }} order by __since)
            union all
            {{ feature_warehouse._revised_early(rows, key_columns) }}
        ),

        history_{{ i }} as (select * from {{ rows }} anti join overtaken_{{ i }} using ({{ keys }}, __event, __known)),
    {% else %} history_{{ i }} as (select * from rows_{{ i }}),
    {% endif %}

{% endmacro %}

{# The early rows that a later revision of the same event overtook before they counted. #}
{% macro _revised_early(rows, key_columns) %}
    select {{ key_columns | join(", ") }}, __event, __known
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
{% endmacro %}

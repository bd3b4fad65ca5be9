{# Every change of the latest values in [start, end): one row per entity, feature view and instant at which they were others
   than just before. The same rules as latest_values, followed through time instead of at one instant. #}
{% macro feature_changes(feature_views, start, end, service=none) %}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set macro_name = "feature_changes" %}
    {% set reads = feature_warehouse._feature_reads(feature_views, service, macro_name) %}
    {% do feature_warehouse._check_instant(start, macro_name, "start") %}
    {% do feature_warehouse._check_instant(end, macro_name, "end") %}

    {% set own = ["feature_view", "changed_at", "change", "event_timestamp", "available_at"] %}
    {% set key_types = {} %}
    {% set feature_types = {} %}

    {% for read in reads %}
        {% for key, column in read["keys"].items() %}
            {% do key_types.update({column: read.view.columns[key]}) %}
        {% endfor %}
        {% for feature, output in read["columns"].items() %}
            {% do feature_types.update({output: read.view.columns[feature]}) %}
        {% endfor %}
    {% endfor %}

    {% for name in key_types.keys() | list + feature_types.keys() | list if name in own %}
        {% do exceptions.raise_compiler_error(
            macro_name ~ ": a column of the result is called '" ~ name ~ "' itself. Give the feature a prefix, or the key another name."
        ) %}
    {% endfor %}

    {% for name in feature_types if name in key_types %}
        {% do exceptions.raise_compiler_error(
            macro_name ~ ": '" ~ name ~ "' is both a join key and a feature. Give the feature a prefix."
        ) %}
    {% endfor %}

    {% set since, until = feature_warehouse._instant(start), feature_warehouse._instant(end) %}

    with

        {% for read in reads %}
            {% set i, view = loop.index, read.view %}
            {% set event = feature_warehouse._quoted(view.event_timestamp) %}
            {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
            {% set deleted = feature_warehouse._quoted(view.deleted) if view.deleted %}
            {% set counts_from = "greatest(" ~ event ~ ", " ~ known ~ ")" if view.available_at else event %}
            {% set key_columns = feature_warehouse._quoted(read["keys"].keys()) %}
            {% set features = feature_warehouse._quoted(read["columns"].keys()) %}
            {% set keys = key_columns | join(", ") %}

            -- {{ view.id }}: of the rows that begin to count at one instant, the newest
            counted_{{ i }} as (
                select
                    *,
                    {{ counts_from }} as __counts_from,
                    max({{ event }}) over (partition by {{ keys }} order by {{ counts_from }}) as __newest_event,
                    row_number() over (
                        partition by {{ keys }}, {{ counts_from }} order by {{ event }} desc, {{ known }} desc
                    ) as __rank
                from {{ view.relation }}
                where
                    {{ event }} < {{ until }} and {{ known }} < {{ until }}
                    {% for key in key_columns %} and {{ key }} is not null {% endfor %}
            ),

            -- less those that a newer event had overtaken by then
            kept_{{ i }} as (
                select *, lead(__counts_from) over (partition by {{ keys }} order by __counts_from) as __next_from
                from counted_{{ i }}
                where __rank = 1 and {{ event }} = __newest_event
            ),

            states_{{ i }} as (
                select
                    {% for key in key_columns %} {{ key }},{% endfor %}
                    __counts_from as __changed_at,
                    {% if view.deleted or view.ttl_seconds is not none %}
                        case
                            {% if deleted %} when coalesce({{ deleted }}, false) then 'deletion' {% endif %}
                            {% if view.ttl_seconds is not none %}
                                when {{ event }} < __counts_from - {{ feature_warehouse._interval(view.ttl_seconds) }}
                                then 'expiry'
                            {% endif %}
                            else 'value'
                        end
                    {% else %} 'value'
                    {% endif %} as __change,
                    {{ event }} as __event_time,
                    {{ known }} as __known,
                    {{ features | join(", ") }}
                from kept_{{ i }}

                {% if view.ttl_seconds is not none %}
                        {% set last_instant = event ~ " + " ~ feature_warehouse._interval(view.ttl_seconds) %}
                    union all
                    -- a value counts up to the end of its ttl and at it
                    select
                        {% for key in key_columns %} {{ key }},{% endfor %}
                        {{ last_instant }} + interval '1 microsecond' as __changed_at,
                        'expiry' as __change,
                        {{ event }} as __event_time,
                        {{ known }} as __known,
                        {% for feature in read["columns"] %}
                            cast(
                                null as {{ feature_warehouse._sql_type(view.columns[feature]) }}
                            ) as {{ feature_warehouse._quoted(feature) }}{{ "," if not loop.last }}
                        {% endfor %}
                    from kept_{{ i }}
                    where
                        {{ last_instant }} >= __counts_from
                        and (__next_from is null or {{ last_instant }} + interval '1 microsecond' < __next_from)
                {% endif %}
            ),

            values_{{ i }} as (
                select
                    {% for key in key_columns %} {{ key }},{% endfor %}
                    __changed_at,
                    __change,
                    __event_time,
                    __known,
                    {% for feature in features %}
                        case when __change = 'value' then {{ feature }} end as {{ feature }}{{ "," if not loop.last }}
                    {% endfor %}
                from states_{{ i }}
            ),

            -- NULL before the first row, as for an entity that is not known
            compared_{{ i }} as (
                select
                    *,
                    {% for feature in features %}
                        lag({{ feature }}) over (
                            partition by {{ keys }} order by __changed_at
                        ) as __before_{{ loop.index }}
                        {{- "," if not loop.last }}
                    {% endfor %}
                from values_{{ i }}
            ),

            changes_{{ i }} as (
                select *
                from compared_{{ i }}
                where
                    __changed_at >= {{ since }}
                    and __changed_at < {{ until }}
                    and (
                        {% for feature in features %}
                            {{ feature }} is distinct from __before_{{ loop.index }} {{ "or" if not loop.last }}
                        {% endfor %}
                    )
            ),
        {% endfor %}

        final as (
            {% for read in reads %}
                {% set found = {} %}
                {% for key, column in read["keys"].items() %}
                    {% do found.update({column: feature_warehouse._quoted(key)}) %}
                {% endfor %}
                {% for feature, output in read["columns"].items() %}
                    {% do found.update({output: feature_warehouse._quoted(feature)}) %}
                {% endfor %}

                select
                    '{{ read.view.id }}' as feature_view,
                    {% for name, data_type in key_types.items() %}
                        {{ found[name] if name in found else "cast(null as " ~ feature_warehouse._sql_type(data_type) ~ ")" }}
                        as {{ feature_warehouse._quoted(name) }},
                    {% endfor %}
                    __changed_at as changed_at,
                    __change as change,
                    __event_time as event_timestamp,
                    __known as available_at,
                    {% for name, data_type in feature_types.items() %}
                        {{ found[name] if name in found else "cast(null as " ~ feature_warehouse._sql_type(data_type) ~ ")" }}
                        as {{ feature_warehouse._quoted(name) }}{{ "," if not loop.last }}
                    {% endfor %}
                from changes_{{ loop.index }} {{ "union all" if not loop.last }}
            {% endfor %}
        )

    select *
    from final

{% endmacro %}

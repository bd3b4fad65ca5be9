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

    {% set since, until = "cast('" ~ start ~ "' as timestamptz)", "cast('" ~ end ~ "' as timestamptz)" %}

    with

        {% for read in reads %}
            {% set i, view = loop.index, read.view %}
            {% set event, known = view.event_timestamp, view.available_at or view.event_timestamp %}
            {% set counts_from = "greatest(" ~ event ~ ", " ~ known ~ ")" if view.available_at else event %}
            {% set keys = read["keys"].keys() | join(", ") %}

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
                    {% for key in read["keys"] %} and {{ key }} is not null {% endfor %}
            ),

            -- less those that a newer event had overtaken by then
            kept_{{ i }} as (
                select *, lead(__counts_from) over (partition by {{ keys }} order by __counts_from) as __next_from
                from counted_{{ i }}
                where __rank = 1 and {{ event }} = __newest_event
            ),

            states_{{ i }} as (
                select
                    {% for key in read["keys"] %} {{ key }},{% endfor %}
                    __counts_from as __changed_at,
                    {% if view.deleted or view.ttl_seconds is not none %}
                        case
                            {% if view.deleted %} when coalesce({{ view.deleted }}, false) then 'deletion' {% endif %}
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
                    {% for feature in read["columns"] %} {{ feature }}{{ "," if not loop.last }} {% endfor %}
                from kept_{{ i }}

                {% if view.ttl_seconds is not none %}
                        {% set last_instant = event ~ " + " ~ feature_warehouse._interval(view.ttl_seconds) %}
                    union all
                    -- a value counts up to the end of its ttl and at it
                    select
                        {% for key in read["keys"] %} {{ key }},{% endfor %}
                        {{ last_instant }} + interval '1 microsecond' as __changed_at,
                        'expiry' as __change,
                        {{ event }} as __event_time,
                        {{ known }} as __known,
                        {% for feature in read["columns"] %}
                            cast(null as {{ view.columns[feature] }}) as {{ feature }}{{ "," if not loop.last }}
                        {% endfor %}
                    from kept_{{ i }}
                    where
                        {{ last_instant }} >= __counts_from
                        and (__next_from is null or {{ last_instant }} + interval '1 microsecond' < __next_from)
                {% endif %}
            ),

            values_{{ i }} as (
                select
                    {% for key in read["keys"] %} {{ key }},{% endfor %}
                    __changed_at,
                    __change,
                    __event_time,
                    __known,
                    {% for feature in read["columns"] %}
                        case when __change = 'value' then {{ feature }} end as {{ feature }}{{ "," if not loop.last }}
                    {% endfor %}
                from states_{{ i }}
            ),

            -- NULL before the first row, as for an entity that is not known
            compared_{{ i }} as (
                select
                    *,
                    {% for feature in read["columns"] %}
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
                        {% for feature in read["columns"] %}
                            {{ feature }} is distinct from __before_{{ loop.index }} {{ "or" if not loop.last }}
                        {% endfor %}
                    )
            ),
        {% endfor %}

        final as (
            {% for read in reads %}
                {% set found = {} %}
                {% for key, column in read["keys"].items() %}{% do found.update({column: key}) %}{% endfor %}
                {% for feature, output in read["columns"].items() %}{% do found.update({output: feature}) %}{% endfor %}

                select
                    '{{ read.view.id }}' as feature_view,
                    {% for name, data_type in key_types.items() %}
                        {{ found[name] if name in found else "cast(null as " ~ data_type ~ ")" }} as {{ name }},
                    {% endfor %}
                    __changed_at as changed_at,
                    __change as change,
                    __event_time as event_timestamp,
                    __known as available_at,
                    {% for name, data_type in feature_types.items() %}
                        {{ found[name] if name in found else "cast(null as " ~ data_type ~ ")" }}
                        as {{ name }}{{ "," if not loop.last }}
                    {% endfor %}
                from changes_{{ loop.index }} {{ "union all" if not loop.last }}
            {% endfor %}
        )

    select *
    from final

{% endmacro %}

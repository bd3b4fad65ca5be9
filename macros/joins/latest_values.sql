{# One row per entity: the newest row of a feature view that is known now and not older than its ttl. The same rules as
   point_in_time_join at the instant `current_instant()`, or `at` another one, therefore the same values that training would
   see. #}
{% macro latest_values(relation, at=none) %}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set view = feature_warehouse._feature_view(relation, "latest_values") %}
    {% set event = feature_warehouse._quoted(view.event_timestamp) %}
    {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
    {% set deleted = feature_warehouse._quoted(view.deleted) if view.deleted %}
    {% set keys = feature_warehouse._quoted(view.join_keys) %}
    {% if at is not none %} {% do feature_warehouse._check_instant(at, "latest_values", "at") %} {% endif %}
    {% set now = feature_warehouse.current_instant() if at is none else feature_warehouse._instant(at) %}
    {% set columns = view.columns.keys() | reject("equalto", view.deleted) | list %}

    with

        known as (
            select
                *,
                row_number() over (
                    partition by {{ keys | join(", ") }} order by {{ event }} desc, {{ known }} desc
                ) as __rank
            from {{ relation }}
            where
                {{ event }} <= {{ now }} and {{ known }} <= {{ now }}
                {% for key in keys %} and {{ key }} is not null {% endfor %}
        )

    select {{ feature_warehouse._quoted(columns) | join(", ") }}
    from known
    where
        __rank = 1
        {% if deleted %} and not coalesce({{ deleted }}, false) {% endif %}
        {% if view.ttl_seconds is not none %}
            and {{ event }} >= {{ now }} - {{ feature_warehouse._interval(view.ttl_seconds) }}
        {% endif %}

{% endmacro %}

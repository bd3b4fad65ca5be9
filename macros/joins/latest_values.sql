{# One row per entity: the newest row of a feature view that is known now and not older than its ttl. The same rules as
   point_in_time_join at the instant `current_instant()`, therefore the same values that training would see. #}
{% macro latest_values(relation) %}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set view = feature_warehouse._feature_view(relation, "latest_values") %}
    {% set event = feature_warehouse._quoted(view.event_timestamp) %}
    {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
    {% set deleted = feature_warehouse._quoted(view.deleted) if view.deleted %}
    {% set keys = feature_warehouse._quoted(view.join_keys) %}
    {% set now = feature_warehouse.current_instant() %}
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

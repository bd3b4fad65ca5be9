{# One row per entity: the newest row of a feature view that is known now and not older than its ttl. The same rules as
   point_in_time_join at the instant `current_instant()`, therefore the same values that training would see. #}
{% macro latest_values(relation) %}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set view = feature_warehouse._feature_view(relation, "latest_values") %}
    {% set known = view.available_at or view.event_timestamp %}
    {% set now = feature_warehouse.current_instant() %}
    {% set columns = view.columns.keys() | reject("equalto", view.deleted) | list %}

    with

        known as (
            select
                *,
                row_number() over (
                    partition by {{ view.join_keys | join(", ") }}
                    order by {{ view.event_timestamp }} desc, {{ known }} desc
                ) as __rank
            from {{ relation }}
            where
                {{ view.event_timestamp }} <= {{ now }} and {{ known }} <= {{ now }}
                {% for key in view.join_keys %} and {{ key }} is not null {% endfor %}
        )

    select {{ columns | join(", ") }}
    from known
    where
        __rank = 1
        {% if view.deleted %} and not coalesce({{ view.deleted }}, false) {% endif %}
        {% if view.ttl_seconds is not none %}
            and {{ view.event_timestamp }} >= {{ now }} - {{ feature_warehouse._interval(view.ttl_seconds) }}
        {% endif %}

{% endmacro %}

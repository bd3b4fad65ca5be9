{# Fails when the newest fact of a feature view is older than 1.5 times what its tier, or its `expected_every`, says; and when
   it has no fact at all. The data of a static view does not age: it only has to be there. #}
{% test feature_freshness(model) %}

    {% if execute %}
        {% set view = feature_warehouse._feature_view(model, "feature_freshness") %}
        {% set known_at = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
        {% set expected = none if view.tier == "static" else view.expected_every_seconds %}
        {% set now = feature_warehouse.current_instant() %}

        with
            newest as (
                -- a row may lie ahead in event time; what is not available yet is no news
                select max({{ known_at }}) as newest_available_at from {{ model }} where {{ known_at }} <= {{ now }}
            ),

            validation_errors as (
                select
                    newest_available_at,
                    {{ now }} as judged_at,
                    {{ "null" if expected is none else expected }} as expected_every_seconds
                from newest
                where
                    newest_available_at is null
                    {% if expected is not none %}
                        or newest_available_at < {{ now }} - {{ feature_warehouse._interval(3 * expected // 2) }}
                    {% endif %}
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

{# Fails with the rows of a feature view that claim to have been available later than now. A row may lie ahead in event time
   (a window that an event will leave), never in availability. #}
{% test available_by_now(model) %}

    {% if execute %}
        {% set view = feature_warehouse._feature_view(model, "available_by_now") %}

        with
            validation_errors as (
                select *
                from {{ model }}
                where
                    {{ feature_warehouse._quoted(view.available_at or view.event_timestamp) }}
                    > {{ feature_warehouse.current_instant() }}
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

{# Fails with the revisions that a feature view holds more than once: which of them a join would take is undefined. #}
{% test unique_history(model) %}

    {% if execute %}
        {% set view = feature_warehouse._feature_view(model, "unique_history") %}
        {% set columns = feature_warehouse._quoted(
            view.join_keys + [view.event_timestamp] + ([view.available_at] if view.available_at else [])
        ) %}

        with
            validation_errors as (
                select {{ columns | join(", ") }}, count(*) as rows_with_these
                from {{ model }}
                group by {{ columns | join(", ") }}
                having count(*) > 1
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

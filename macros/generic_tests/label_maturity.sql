{# Fails with the labels that are too young to be settled: a customer who has not left yet may still leave. #}
{% test label_maturity(model, spine_timestamp, minimum_age) %}

    {% if execute %}
        {% set macro_name = "label_maturity" %}
        {% set seconds = feature_warehouse._seconds(minimum_age, macro_name ~ ": minimum_age") %}
        {% set types = feature_warehouse._column_types(model) %}
        {% do feature_warehouse._spine_columns(model, spine_timestamp, [], macro_name, types) %}

        with
            validation_errors as (
                select *
                from {{ model }}
                where
                    {{ feature_warehouse._quoted(spine_timestamp) }}
                    > {{ feature_warehouse.current_instant() }} - {{ feature_warehouse._interval(seconds) }}
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

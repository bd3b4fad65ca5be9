{# Fails with every column that holds a time without a zone: such a value names no instant. #}
{% test zoned_timestamps(model) %}

    {% if execute %}
        {% set naive = [] %}

        {% for column in adapter.get_columns_in_relation(model) %}
            {% if "timestamp" in column.data_type | lower and not feature_warehouse._is_zoned(column.data_type) %}
                {% do naive.append(column) %}
            {% endif %}
        {% endfor %}

        with
            validation_errors as (
                {% for column in naive %}
                    select
                        {{ dbt.string_literal(column.name) }} as column_name,
                        {{ dbt.string_literal(column.data_type) }} as data_type
                        {{ "union all" if not loop.last }}
                {% else %}select null as column_name, null as data_type where false
                {% endfor %}
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

{# Fails with every column that holds a time without a zone: such a value names no instant. `as_instant` is the SQL that makes
   one of it. #}
{% test zoned_timestamps(model) %}

    {% if execute %}
        {% set naive = [] %}

        {% for name, data_type in feature_warehouse._column_types(model).items() %}
            {% if "timestamp" in data_type | lower and not feature_warehouse._is_zoned(data_type) %}
                {% do naive.append({"name": name, "data_type": data_type}) %}
            {% endif %}
        {% endfor %}

        with
            validation_errors as (
                {% for column in naive %}
                    select
                        {{ feature_warehouse._text(column.name) }} as column_name,
                        {{ feature_warehouse._text(column.data_type) }} as data_type,
                        -- or the zone that its clock stood in
                        {{ feature_warehouse._text(feature_warehouse._as_instant(column.name)) }} as as_instant
                        {{ "union all" if not loop.last }}
                {% else %}select null as column_name, null as data_type, null as as_instant where false
                {% endfor %}
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

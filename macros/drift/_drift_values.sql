{# The CTE `observations` of the rows in `sample`: {period_start, feature, number, text}, a row per value. A number is in
   `number`, anything else in `text`, NULL in neither. #}
{% macro _drift_values(source) %}

    observations as (
        {% for name, feature in source.features.items() %}
            {% set column = feature_warehouse._quoted(name) %}
            select
                __period_start as period_start,
                {{ feature_warehouse._text(name) }} as feature,
                {% if feature.kind == "number" %}
                    -- + 0: a double may be -0.0
                    cast({{ column }} as double precision) + 0 as number, cast(null as varchar) as text
                {% elif feature.is_ordered %} cast(null as double precision), cast({{ column }} as varchar)
                {% else %}
                    cast(null as double precision),
                    {% set hash = adapter.dispatch("drift_hash", "feature_warehouse")(column) %}
                    case when {{ column }} is not null then {{ hash }} end
                {% endif %}
            from sample {{ "union all" if not loop.last }}
        {% endfor %}
    ),

{% endmacro %}

{# What tells values apart that are not compared, such as lists. #}
{% macro duckdb__drift_hash(column) %} {{ return("cast(hash(" ~ column ~ ") as varchar)") }} {% endmacro %}

{% macro postgres__drift_hash(column) %} {{ return("md5(cast(to_json(" ~ column ~ ") as text))") }} {% endmacro %}

{# From how many values on numbers get ranges instead of categories, and how many categories there are at most. #}
{% macro _drift_categories() %} {{ return(20) }} {% endmacro %}

{# A number as a person writes it: whole ones without a fraction. #}
{% macro _drift_text(number) %}
    case
        when {{ number }} = trunc({{ number }}) and abs({{ number }}) < 1e15
        then cast(cast({{ number }} as bigint) as varchar)
        else cast({{ number }} as varchar)
    end
{% endmacro %}

{% macro _drift_is_finite(number) %}
    {{ number }} > cast('-Infinity' as double precision) and {{ number }} < cast('Infinity' as double precision)
{% endmacro %}

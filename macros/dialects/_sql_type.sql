{# A declared type as the database spells it: a view may declare `double` and be built in PostgreSQL. #}
{% macro _sql_type(data_type) %}
    {{ return(adapter.dispatch("sql_type", "feature_warehouse")(data_type)) }}
{% endmacro %}

{% macro default__sql_type(data_type) %} {{ return(data_type) }} {% endmacro %}

{% macro postgres__sql_type(data_type) %}

    {% set spelled = {"double": "double precision", "float": "real", "blob": "bytea", "hugeint": "numeric(38, 0)"} %}
    {% set name, bracket, rest = (data_type | lower | trim).partition("[") %}

    {{ return(spelled.get(name, name) ~ bracket ~ rest) }}

{% endmacro %}

{# A relation as it stands in a from clause; a subquery in words gets the alias that most databases want. #}
{% macro _aliased(relation, alias) %}
    {{ return(adapter.dispatch("aliased", "feature_warehouse")(relation, alias)) }}
{% endmacro %}

{% macro default__aliased(relation, alias) %}
    {{ return(relation ~ (" as " ~ alias if relation is string and relation.rstrip().endswith(")") else "")) }}
{% endmacro %}

{% macro duckdb__aliased(relation, alias) %} {{ return(relation) }} {% endmacro %}

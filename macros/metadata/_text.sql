{# The SQL literal of a text. #}
{% macro _text(words) %} {{ return(dbt.string_literal(dbt.escape_single_quotes(words))) }} {% endmacro %}

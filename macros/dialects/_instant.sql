{# The instant that a text names, as SQL. #}
{% macro _instant(text) %} {{ return(adapter.dispatch("instant", "feature_warehouse")(text)) }} {% endmacro %}

{% macro default__instant(text) %} {{ return("cast('" ~ text ~ "' as timestamp with time zone)") }} {% endmacro %}

{# The aggregate that lists the values for which a condition holds, in the order of another expression; empty where it holds
   for none. #}
{% macro _list_in_order(value, order, condition) %}
    {{ return(adapter.dispatch("list_in_order", "feature_warehouse")(value, order, condition)) }}
{% endmacro %}

{% macro default__list_in_order(value, order, condition) %}
    coalesce(array_agg({{ value }} order by {{ order }}) filter (where {{ condition }}), array[])
{% endmacro %}

{# An empty list has a type there. #}
{% macro postgres__list_in_order(value, order, condition) %}
    coalesce(array_agg({{ value }} order by {{ order }}) filter (where {{ condition }}), '{}')
{% endmacro %}

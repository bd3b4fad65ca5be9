{# Refuses a macro on an adapter for which its SQL was never run: what nobody proved might give other values in silence.
   `form` is the macro that is dispatched. #}
{% macro _no_form(macro_name, form) %}
    {% do exceptions.raise_compiler_error(
        macro_name
        ~ ": it has no form for the adapter "
        ~ adapter.type()
        ~ ", only for duckdb and postgres. To add one, write the macro "
        ~ adapter.type()
        ~ "__"
        ~ form
        ~ " in your project, and prove it by the project in integration_tests/ of this package, whose README says how."
    ) %}
{% endmacro %}

{# For a form of one adapter: others descend from it (Redshift from PostgreSQL) and would be given it too. #}
{% macro _only_for(adapter_type, macro_name, form) %}
    {% if adapter.type() != adapter_type %} {% do feature_warehouse._no_form(macro_name, form) %} {% endif %}
{% endmacro %}

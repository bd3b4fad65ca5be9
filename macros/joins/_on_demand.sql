{# The on-demand features of a service: [{name, data_type, expression}]. #}
{% macro _on_demand(service) %}
    {{ return(feature_warehouse.service_facts()[service].get("on_demand", []) if service is not none else []) }}
{% endmacro %}

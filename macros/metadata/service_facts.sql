{# The one place that reads `graph` for feature services: {"departure_delay.v2": what its exposure declares}. Override it
   in a dbt unit test like `view_facts`. #}
{% macro service_facts() %}

    {% set facts = {} %}

    {% if execute %}
        {% for exposure in graph.get("exposures", {}).values() %}
            {% set declared = exposure.config.get("meta", {}).get("feature_service") %}

            {% if declared %} {% do facts.update({declared.name ~ ".v" ~ declared.version: declared}) %} {% endif %}
        {% endfor %}
    {% endif %}

    {{ return(facts) }}

{% endmacro %}

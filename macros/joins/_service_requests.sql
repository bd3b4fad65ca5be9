{# The reads that a service declares, each with its view's relation from the macro_name's refs; both must name the same views. #}
{% macro _service_requests(feature_views, service, macro_name) %}

    {% set services = feature_warehouse.service_facts() %}

    {% if service not in services %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": there is no feature service '"
            ~ service
            ~ "'. Write <name>.v<version>; declared: "
            ~ (services.keys() | sort | join(", ") or "none")
            ~ "."
        ) %}
    {% endif %}

    {% set views = {} %}

    {% for relation in feature_views %}
        {% set view = feature_warehouse._feature_view(relation, macro_name) %} {% do views.update({view.id: view}) %}
    {% endfor %}

    {% set wanted = services[service].features | map(attribute="view") | unique | list %}
    {% set missing = wanted | reject("in", views.keys()) | list %}
    {% set spare = views.keys() | reject("in", wanted) | list %}

    {% if missing or spare %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": `feature_views` and the service "
            ~ service
            ~ " disagree."
            ~ (" Missing: " ~ missing | join(", ") ~ "." if missing else "")
            ~ (" Not in the service: " ~ spare | join(", ") ~ "." if spare else "")
        ) %}
    {% endif %}

    {% set requests = [] %}

    {% for read in services[service].features %}
        {% do requests.append(dict(read, view=views[read.view])) %}
    {% endfor %}

    {{ return(requests) }}

{% endmacro %}

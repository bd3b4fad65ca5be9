{# The reads that a service declares, each with its view's relation from the macro_name's refs; both must name the same views. #}
{% macro _service_requests(feature_views, service, macro_name) %}

    {% set declared = feature_warehouse._feature_service(service, macro_name) %}
    {% set views = {} %}

    {% for relation in feature_views %}
        {% set view = feature_warehouse._feature_view(relation, macro_name) %} {% do views.update({view.id: view}) %}
    {% endfor %}

    {% set wanted = declared.features | map(attribute="view") | unique | list %}
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

    {% for read in declared.features %} {% do requests.append(dict(read, view=views[read.view])) %} {% endfor %}

    {{ return(requests) }}

{% endmacro %}

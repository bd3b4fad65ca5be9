{# What a feature service declares, its settings checked. `macro_name` is the macro that errors name. #}
{% macro _feature_service(service, macro_name) %}

    {% set services = feature_warehouse.service_facts() %}

    {# A service that is not found may be one whose name is mistyped: then all are looked at. #}
    {% for id, declared in services.items() if id == service or service not in services %}
        {% set where = macro_name ~ ": feature service " ~ id %}
        {% do feature_warehouse._check_settings(declared, "feature_service", where ~ ": config.meta.feature_service") %}

        {% for part in ["features", "on_demand"] %}
            {% for item in declared.get(part) or [] %}
                {% do feature_warehouse._check_settings(item, part, where ~ ": item " ~ loop.index ~ " of `" ~ part ~ "`") %}
            {% endfor %}
        {% endfor %}
    {% endfor %}

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

    {{ return(services[service]) }}

{% endmacro %}

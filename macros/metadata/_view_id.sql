{# "carrier_delays.v2" for the relation of ref('carrier_delays', v=2). Found by name and version through the macro_name's own
   refs, never by relation name: under `--defer`, with custom aliases and in unit tests a relation is called otherwise,
   but the same ref resolved twice is the same relation. #}
{% macro _view_id(relation, macro_name) %}

    {% set facts = feature_warehouse.view_facts() %}
    {% set found = [] %}

    {% for reference in model.refs %}
        {% set version = reference.get("version") %}
        {% set name = [reference.package, reference.name] if reference.get("package") else [reference.name] %}
        {% set resolved = ref(*name) if version is none else ref(*name, v=version) %}

        {% if resolved | string == relation | string %}
            {% set prefix = reference.name ~ ".v" %}

            {% for id, fact in facts.items() if id.startswith(prefix) and "." not in id[prefix | length :] %}
                {% set wanted = fact.get("latest_version") if version is none else version %}

                {% if wanted is none or id == prefix ~ wanted %} {% do found.append(id) %} {% endif %}
            {% endfor %}
        {% endif %}
    {% endfor %}

    {% if not found %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": "
            ~ relation
            ~ " is not a feature view. Pass ref('<feature view>', v=<version>) of a model with config.meta.feature_view"
            ~ " (declared: "
            ~ (facts.keys() | sort | join(", ") or "none")
            ~ "). In a dbt unit test, override the macro feature_warehouse.view_facts."
        ) %}
    {% endif %}

    {{ return(found[0]) }}

{% endmacro %}

{# "carrier_delays.v2" for the relation of ref('carrier_delays', v=2). Found by name and version through the caller's own
   refs, never by relation name: under `--defer`, with custom aliases and in unit tests a relation is called otherwise,
   but the same ref resolved twice is the same relation. #}
{% macro _view_id(relation, macro_name) %}

    {% set found = feature_warehouse._view_id_or_none(relation) %}

    {% if found is none %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": "
            ~ relation
            ~ " is not a feature view. Pass ref('<feature view>', v=<version>) of a model with config.meta.feature_view"
            ~ " (declared: "
            ~ (feature_warehouse.view_facts().keys() | sort | join(", ") or "none")
            ~ "). In a dbt unit test, override the macro feature_warehouse.view_facts."
        ) %}
    {% endif %}

    {{ return(found) }}

{% endmacro %}

{% macro _view_id_or_none(relation) %}

    {% set facts = feature_warehouse.view_facts() %}
    {% set found = [] %}

    {# A test with the config `where` gets a subquery instead of its model; dbt then says which model that was. #}
    {% if relation is string and relation.lstrip().startswith("(") and model.get("attached_node") %}
        {% do found.append(model.attached_node.split(".")[2:] | join(".")) %}
    {% endif %}

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

    {{ return(found[0] if found and found[0] in facts else none) }}

{% endmacro %}

{# {column: data type} of a relation as it stands in the database; {} where it is not built. A test with the config
   `where` gets a subquery instead of its model: then of the relation in it. #}
{% macro _column_types(relation) %}

    {% set types = {} %}
    {% set relations = [relation] if relation is not string else [] %}

    {% for reference in model.refs if relation is string %}
        {% set version = reference.get("version") %}
        {% set name = [reference.package, reference.name] if reference.get("package") else [reference.name] %}
        {% set resolved = ref(*name) if version is none else ref(*name, v=version) %}

        {% if resolved | string in relation %} {% do relations.append(resolved) %} {% endif %}
    {% endfor %}

    {% for column in (adapter.get_columns_in_relation(relations[0]) if relations else []) %}
        {% do types.update({column.name: column.data_type}) %}
    {% endfor %}

    {{ return(types) }}

{% endmacro %}

{# The one place that reads `graph` for feature views: {view id: {declared, columns, latest_version, path, materialized}}.
   In a dbt unit test `graph` is empty: override this macro there by its qualified name (docs/guides/unit-tests.md). It
   takes no argument so that one override serves every macro_name. #}
{% macro view_facts() %}

    {% set facts = {} %}

    {% if execute %}
        {% for node in graph.get("nodes", {}).values() if node.resource_type == "model" %}
            {% set declared = node.config.get("meta", {}).get("feature_view") %}

            {% if declared %}
                {% set columns = {} %}

                {% for column in node.columns.values() %}
                    {% do columns.update({column.name: column.data_type}) %}
                {% endfor %}

                {% set fact = {
                    "declared": declared,
                    "columns": columns,
                    "latest_version": node.latest_version,
                    "path": node.original_file_path,
                    "materialized": node.config.materialized,
                } %}
                {% do facts.update({node.name ~ ".v" ~ node.version: fact}) %}
            {% endif %}
        {% endfor %}
    {% endif %}

    {{ return(facts) }}

{% endmacro %}

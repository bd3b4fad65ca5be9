{# The one place that reads `graph` for feature views: {view id: {declared, columns, drift (config.meta.drift of its columns),
   latest_version, path, materialized, has_append_only_test}}. In a dbt unit test `graph` is empty: override this macro there by its qualified name
   (docs/guides/unit-tests.md). It takes no argument so that one override serves every macro_name. #}
{% macro view_facts() %}

    {% set facts = {} %}

    {% if execute %}
        {% set nodes = graph.get("nodes", {}).values() %}
        {% set proven = [] %}

        {% for test in nodes if test.resource_type == "test" and test.get("test_metadata") %}
            {% if test.test_metadata.name == "history_append_only" and test.test_metadata.namespace == "feature_warehouse" %}
                {% do proven.append(test.attached_node) %}
            {% endif %}
        {% endfor %}

        {% for node in nodes if node.resource_type == "model" %}
            {% set declared = node.config.get("meta", {}).get("feature_view") %}

            {% if declared %}
                {% set columns = {} %}
                {% set drift = {} %}

                {% for column in node.columns.values() %}
                    {% do columns.update({column.name: column.data_type}) %}
                    {% set judged = column.get("config", {}).get("meta", {}).get("drift") %}

                    {% if judged is not none %} {% do drift.update({column.name: judged}) %} {% endif %}
                {% endfor %}

                {% set fact = {
                    "declared": declared,
                    "columns": columns,
                    "drift": drift,
                    "latest_version": node.latest_version,
                    "path": node.original_file_path,
                    "materialized": node.config.materialized,
                    "has_append_only_test": node.unique_id in proven,
                } %}
                {% do facts.update({node.name ~ ".v" ~ node.version: fact}) %}
            {% endif %}
        {% endfor %}
    {% endif %}

    {{ return(facts) }}

{% endmacro %}

{# Before a run: that it began, and for each node that it will build, what stands there and of which text. `_record_builds`
   takes the row away again; where it stays, the run died, and nobody knows what it left behind. #}
{% macro _record_begun() %}

    {% if not execute or flags.WHICH not in ["run", "build", "snapshot", "retry"] %} {{ return("") }} {% endif %}

    {% set begun = {} %}

    {% for id in feature_warehouse._recorded_nodes() if id in selected_resources %}
        {% set node = graph.nodes[id] %}
        {% set standing = adapter.get_relation(node.database, node.schema, node.alias) %}
        {% do begun.update(
            {id: {"text": feature_warehouse._text_digest(node), "stands": standing is not none and not standing.is_view}}
        ) %}
    {% endfor %}

    {{ return(adapter.dispatch("write_begun", "feature_warehouse")(begun) if begun else "") }}

{% endmacro %}

{# Only on databases where this has been tried: elsewhere nothing is recorded, and so nothing is known. #}
{% macro default__write_begun(begun) %} {{ return("") }} {% endmacro %}

{% macro duckdb__write_begun(begun) %}

    {% do feature_warehouse._make_builds_table() %}
    {% set values = [] %}
    {% for id, one in begun.items() %}
        {% do values.append(
            {"node": id, "how": "begun" if one.stands else "begun anew", "later": one.stands, "text": one.text, "sql": ""}
        ) %}
    {% endfor %}

    {{ return(feature_warehouse._insert_builds(values)) }}

{% endmacro %}

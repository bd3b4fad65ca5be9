{# The models and snapshots whose builds are recorded: the feature views and all above them, of a project in which one of
   these keeps rows of earlier runs. What is not among them leaves no row in anybody's warehouse. #}
{% macro _recorded_nodes() %}

    {% set found = [] %}

    {% for node in graph.nodes.values() if node.resource_type == "model" and (node.config.meta or {}).get("feature_view") %}
        {% do found.append(node.unique_id) %}
    {% endfor %}

    {% set known = dict.fromkeys(found) %}

    {# grows while it is walked #}
    {% for id in found %}
        {% for above in graph.nodes[id].depends_on.nodes if above in graph.nodes and above not in known %}
            {% do known.update({above: none}) %} {% do found.append(above) %}
        {% endfor %}
    {% endfor %}

    {% set recorded = [] %}
    {% set keeping = [] %}

    {% for id in found if graph.nodes[id].resource_type in ["model", "snapshot"] %}
        {% do recorded.append(id) %}
        {% if graph.nodes[id].config.materialized in ["incremental", "snapshot"] %}
            {% do keeping.append(id) %}
        {% endif %}
    {% endfor %}

    {{ return(recorded if keeping else []) }}

{% endmacro %}

{# Of what is written in a node, before dbt compiles it. #}
{% macro _text_digest(node) %} {{ return(local_md5(node.raw_code ~ node.config)) }} {% endmacro %}

{% macro _builds_table() %}
    {{ return(api.Relation.create(database=target.database, schema=target.schema, identifier="feature_warehouse_builds")) }}
{% endmacro %}

{% macro _make_builds_table() %}

    {% set builds = feature_warehouse._builds_table() %}
    {% do adapter.create_schema(builds.without_identifier()) %}
    {% do run_query(
        "create table if not exists " ~ builds ~ " (number bigint, built_at varchar, invocation varchar, node varchar, "
        ~ "how varchar, later boolean, strategy varchar, text varchar, sql varchar)"
    ) %}

{% endmacro %}

{# One statement that adds rows, numbered from the last one on. `values`: {node, how, later, strategy, text, sql} each. #}
{% macro _insert_builds(values) %}

    {% set builds = feature_warehouse._builds_table() %}
    {% set built_at = modules.datetime.datetime.now(modules.pytz.utc).isoformat() %}
    {% set rows = [] %}

    {% for one in values %}
        {% set texts = [] %}
        {% for text in [built_at, invocation_id, one.node, one.how] %}
            {% do texts.append(feature_warehouse._text(text)) %}
        {% endfor %}
        {% do texts.append("true" if one.later else "false") %}
        {% for text in [one.strategy or "", one.text, one.sql] %}
            {% do texts.append(feature_warehouse._text(text)) %}
        {% endfor %}
        {% do rows.append("select last_number + " ~ loop.index ~ ", " ~ texts | join(", ") ~ " from last") %}
    {% endfor %}

    {{ return(
        "insert into " ~ builds ~ " with last as (select coalesce(max(number), 0) as last_number from " ~ builds ~ ") "
        ~ rows | join(" union all ")
    ) }}

{% endmacro %}

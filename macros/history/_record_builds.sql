{# After a run: of each node that it built, by which SQL, and whether all of its rows are of that SQL. A row is added only
   where it says something new, so that runs of unchanged models leave none. `results`: of on-run-end. #}
{% macro _record_builds(results) %}

    {% if not execute or flags.WHICH not in ["run", "build", "snapshot", "retry"] %} {{ return("") }} {% endif %}

    {% set recorded = feature_warehouse._recorded_nodes() %}
    {% set built = [] %}

    {% for result in results if result.node.unique_id in recorded and result.status | string != "skipped" %}
        {# What did not compile did not run. #}
        {% if result.status | string != "error" or result.node.compiled_code %}
            {% do built.append(result) %}
        {% endif %}
    {% endfor %}

    {{ return(adapter.dispatch("write_builds", "feature_warehouse")(built) if built else "") }}

{% endmacro %}

{% macro default__write_builds(built) %} {{ return("") }} {% endmacro %}

{% macro duckdb__write_builds(built) %}

    {% do feature_warehouse._make_builds_table() %}
    {% set builds = feature_warehouse._builds_table() %}
    {% set begun, died, last = {}, {}, {} %}
    {% set newest = namespace(number=0) %}

    {% for row in run_query(
        "select number, invocation, node, how, later, strategy, text, sql from " ~ builds ~ " order by number"
    ).rows %}
        {% set newest.number = row["number"] %}
        {% if row["how"].startswith("begun") %}
            {% if row["invocation"] == invocation_id %} {% do begun.update({row["node"]: row}) %}
            {% else %} {% do died.update({row["node"]: row["number"]}) %}
            {% endif %}
        {% else %}
            {% if row["how"] == "whole" %} {% do last.update({(row["node"], true): none}) %}
            {% endif %}
            {% do last.update({(row["node"], row["later"]): row, row["node"]: row}) %}
        {% endif %}
    {% endfor %}

    {% set values = [] %}

    {% for result in built %}
        {% set one = feature_warehouse._build(result, begun.get(result.node.unique_id)) %}
        {% set kind = result.node.config.materialized %}
        {% set latest = last.get(one.node) %}
        {% set before = last.get((one.node, one.later)) %}
        {% set same = before and (before["sql"] or "", before["text"], before["strategy"]) == (one.sql, one.text, one.strategy) %}
        {# Rows of earlier runs are gone, or something else may stand there than was recorded last. #}
        {% set anew = one.how == "whole" and (kind in ["incremental", "snapshot"] or (latest and latest["how"] != "whole")) %}
        {# A view reads what stands above it; all else holds what stood there when it was built. #}
        {% set fed = same and kind != "view" and feature_warehouse._newest_above(one.node, last) > before["number"] %}
        {% set unseen = died.get(one.node, 0) > (latest["number"] if latest else 0) %}
        {% if not same or anew or fed or unseen %}
            {% do values.append(one) %}
            {% set row = dict(one, number=newest.number + values | length) %}
            {% if one.how == "whole" %} {% do last.update({(one.node, true): none}) %} {% endif %}
            {% do last.update({(one.node, one.later): row, one.node: row}) %}
        {% endif %}
    {% endfor %}

    {% set statements = ["delete from " ~ builds ~ " where invocation = " ~ feature_warehouse._text(invocation_id)] %}
    {% if values %} {% do statements.append(feature_warehouse._insert_builds(values)) %} {% endif %}

    {{ return("begin; " ~ statements | join("; ") ~ "; commit;") }}

{% endmacro %}

{# The number of the last row about what a node reads, through all views in between. `last`: the rows by node. #}
{% macro _newest_above(id, last) %}

    {% set above = [id] %}
    {% set newest = namespace(number=0) %}

    {# grows while it is walked #}
    {% for each in above if each == id or graph.nodes[each].config.materialized in ["view", "ephemeral"] %}
        {% for parent in graph.nodes[each].depends_on.nodes if parent in graph.nodes and parent not in above %}
            {% do above.append(parent) %}
            {% if last.get(parent) %}
                {% set newest.number = [newest.number, last[parent]["number"]] | max %}
            {% endif %}
        {% endfor %}
    {% endfor %}

    {{ return(newest.number) }}

{% endmacro %}

{# One build, as a row. how: "whole", or "part" where older rows stand beside, or may do so. later: by the SQL of a later run
   of an incremental model. `begun`: the row that the run began with, if it did. #}
{% macro _build(result, begun) %}

    {% set node = graph.nodes[result.node.unique_id] %}
    {% set config = node.config %}
    {% set kind = config.materialized %}
    {% set refreshed = (
        kind == "incremental" and (flags.FULL_REFRESH if config.full_refresh is none else config.full_refresh)
    ) %}
    {% set first = kind not in ["incremental", "snapshot"] or refreshed or (begun and begun["how"] == "begun anew") %}
    {# A microbatch model is built in portions, each with its own SQL. #}
    {% set portions = kind == "incremental" and config.incremental_strategy == "microbatch" %}
    {% set strategy = {} %}

    {% if kind in ["incremental", "snapshot"] %}
        {% for key in feature_warehouse._keeping_settings() if config.get(key) not in [none, [], {}] %}
            {% do strategy.update({key: config[key] | string}) %}
        {% endfor %}
    {% endif %}

    {{ return(
        {
            "node": node.unique_id,
            "how": "whole" if first and not portions and result.status | string == "success" else "part",
            "later": kind == "incremental" and not first,
            "strategy": tojson(strategy, sort_keys=true),
            "text": feature_warehouse._text_digest(node),
            "sql": "" if portions else result.node.compiled_code or "",
        }
    ) }}

{% endmacro %}

{# What a model's or snapshot's config says about the rows that stand there. #}
{% macro _keeping_settings() %}
    {{ return(
        [
            "check_cols", "dbt_valid_to_current", "hard_deletes", "incremental_predicates", "incremental_strategy",
            "invalidate_hard_deletes", "merge_exclude_columns", "merge_update_columns", "strategy", "unique_key",
            "updated_at",
        ]
    ) }}
{% endmacro %}

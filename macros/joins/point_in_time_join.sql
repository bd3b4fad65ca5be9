{% macro point_in_time_join(
    spine, spine_timestamp, feature_views, service=none, allow_equal=true, known_as_of=none, spine_columns=none
) %}

    {# While parsing, the refs in the arguments are all that dbt wants; the metadata is not there yet. #}
    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set macro_name = "point_in_time_join" %}
    {% set reads = feature_warehouse._feature_reads(feature_views, service, macro_name) %}
    {% set columns = feature_warehouse._spine_columns(spine, spine_timestamp, reads, macro_name, spine_columns) %}
    {% set on_demand = feature_warehouse._on_demand(service, macro_name, columns) %}

    {% if known_as_of is not none %}
        {% do feature_warehouse._check_instant(known_as_of, macro_name, "known_as_of") %}

        {% for read in reads if read.view.history != "append_only" or not read.view.has_append_only_test %}
            {% do exceptions.raise_compiler_error(
                macro_name
                ~ ": `known_as_of` needs every history to keep what was once known, but "
                ~ read.view.id
                ~ (
                    " only declares `history: append_only`. Prove it: put the test feature_warehouse.history_append_only on it"
                    if read.view.history == "append_only"
                    else " does not declare `history: append_only`. Declare it if its rows never change once written"
                )
                ~ ", or leave known_as_of out."
            ) %}
        {% endfor %}
    {% endif %}

    {% set chosen = [] %}

    {% for read in reads %}
        {% do chosen.append(dict(read, settled=feature_warehouse._settled(read.view, macro_name))) %}
    {% endfor %}

    {{ return(
        adapter.dispatch("point_in_time_select", "feature_warehouse")(
            spine=spine,
            spine_columns=columns,
            spine_timestamp=spine_timestamp,
            reads=chosen,
            on_demand=on_demand,
            allow_equal=allow_equal,
            known_as_of=known_as_of,
        )
    ) }}

{% endmacro %}

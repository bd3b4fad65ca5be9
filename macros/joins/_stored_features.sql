{# For the syncer, where another database than DuckDB joins: the point-in-time join without features computed on demand. DuckDB
   computes those over the joined rows, as it does online. #}
{% macro _stored_features(
    spine, spine_timestamp, feature_views, service=none, known_as_of=none, spine_columns=none
) %}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set reads = feature_warehouse._feature_reads(feature_views, service, "point_in_time_join") %}

    {{ return(
        adapter.dispatch("point_in_time_select", "feature_warehouse")(
            spine=spine,
            spine_columns=feature_warehouse._spine_columns(
                spine, spine_timestamp, reads, "point_in_time_join", spine_columns
            ),
            spine_timestamp=spine_timestamp,
            reads=reads,
            on_demand=none,
            allow_equal=true,
            known_as_of=known_as_of,
        )
    ) }}

{% endmacro %}

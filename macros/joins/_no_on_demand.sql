{# Refuses to compute on-demand features anywhere but in DuckDB: online it computes them, and another database gives other
   values for many an expression. #}
{% macro _no_on_demand(on_demand) %}
    {% do exceptions.raise_compiler_error(
        "point_in_time_join: the service "
        ~ on_demand.service
        ~ " has on-demand features ("
        ~ on_demand.features | map(attribute="name") | join(", ")
        ~ "), which DuckDB alone computes as they are computed online. Leave `service` out and name the features in"
        ~ " `feature_views`, or make the training set with `syncer training-set`."
    ) %}
{% endmacro %}

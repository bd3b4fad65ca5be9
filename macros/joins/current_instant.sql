{# What "now" means, as a SQL expression: the var `feature_warehouse_now` when set, else the real time. On DuckDB the session
   variable of the same name comes first, so that one sync reads every view at one instant. #}
{% macro current_instant() %} {{ return(adapter.dispatch("current_instant", "feature_warehouse")()) }} {% endmacro %}

{% macro default__current_instant() %}

    {% set now = var("feature_warehouse_now", none) %}

    {% if now is none %} {{ return("current_timestamp") }} {% endif %}

    {# Only when it matters: a demo model that is parsed, and disabled, in another project must not stop that project. #}
    {% if execute %}
        {% do feature_warehouse._check_instant(now, "current_instant", "the var feature_warehouse_now") %}
    {% endif %}

    {{ return(feature_warehouse._instant(now)) }}

{% endmacro %}

{% macro duckdb__current_instant() %}
    {{ return(
        "coalesce(cast(getvariable('feature_warehouse_now') as timestamptz), "
        ~ feature_warehouse.default__current_instant()
        ~ ")"
    ) }}
{% endmacro %}

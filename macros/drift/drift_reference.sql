{# The bins of each feature, fixed from a stated period, with the rows that fell into them. Fixed means: a later run leaves a
   feature alone whose definition is the same. #}
{% macro drift_reference(relation, start, end, timestamp=none, features=none, service=none) %}

    {{ config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key=["feature"],
        on_schema_change="fail",
        meta={"drift": "reference"},
    ) }}

    {# While parsing, the refs in the arguments are all that dbt wants; the metadata is not there yet. #}
    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set macro_name = "drift_reference" %}
    {% do feature_warehouse._check_instant(start, macro_name, "start") %}
    {% do feature_warehouse._check_instant(end, macro_name, "end") %}
    {% set source = feature_warehouse._drift_source(relation, timestamp, features, service, macro_name) %}

    {% for feature in source.features.values() %}
        {% do feature.update({"definition": feature.data_type | lower ~ " from " ~ start ~ " to " ~ end}) %}
    {% endfor %}

    {% if is_incremental() %}
        {% set fixed = run_query("select distinct feature, definition from " ~ this).rows %}

        {% for row in fixed if source.features.get(row[0], {}).get("definition") == row[1] %}
            {% do source.features.pop(row[0]) %}
        {% endfor %}

        {% if not source.features %} {{ return("select * from " ~ this ~ " where false") }} {% endif %}
    {% endif %}

    {{ return(
        adapter.dispatch("drift_reference_select", "feature_warehouse")(source=source, start=start, end=end)
    ) }}

{% endmacro %}

{# The rows of a feature view that can ever count, each with the instant from which it does: what point_in_time_join would
   work out in every call, kept as an incremental model beside the view. Semantics: docs/guides/point-in-time.md. #}
{% macro settled_history(relation) %}

    {# An empty row with the __id of one that stands takes that one away. #}
    {% set is_leaving = "DBT_INTERNAL_SOURCE.__since is null and DBT_INTERNAL_SOURCE.__row_count is null" %}

    {{ config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key="__id",
        on_schema_change="fail",
        merge_clauses={
            "when_matched": [{"action": "delete", "condition": is_leaving}, {"action": "update", "mode": "by_name"}],
            "when_not_matched": [{"action": "insert", "mode": "by_name"}],
        },
    ) }}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set macro_name = "settled_history" %}
    {% set view = feature_warehouse._feature_view(relation, macro_name) %}

    {% if view.settled != model.name %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": "
            ~ view.id
            ~ " declares "
            ~ ("`settled: " ~ view.settled ~ "`" if view.settled else "no `settled`")
            ~ ", so no join would read this model. Write `settled: "
            ~ model.name
            ~ "` under config.meta.feature_view of "
            ~ view.id
            ~ ", in the config of its version where it has several."
        ) %}
    {% endif %}

    {{ return(
        adapter.dispatch("settled_select", "feature_warehouse")(view=view, standing=this if is_incremental() else none)
    ) }}

{% endmacro %}

{# The feature view behind a relation, checked and ready to use:
   {id, relation, join_keys, event_timestamp, available_at (none: waived), deleted, ttl_seconds, sync_delay_seconds,
   tier, expected_every_seconds (none: no interval), history, has_append_only_test, settled (the name of the model of its
   settled history; none: it has none), stored (a table: reading it twice
   computes nothing twice), features, columns}.
   `macro_name` is the macro that errors name. Call it only when executing. #}
{% macro _feature_view(relation, macro_name) %}

    {% set id = feature_warehouse._view_id(relation, macro_name) %}
    {% set fact = feature_warehouse.view_facts()[id] %}
    {% set declared = fact.declared %}
    {% set columns = fact.columns %}
    {% set where = macro_name ~ ": feature view " ~ id ~ (" (" ~ fact.path ~ ")" if fact.path else "") %}

    {% do feature_warehouse._check_settings(declared, "feature_view", where ~ ": config.meta.feature_view") %}

    {% for setting in ["join_keys", "event_timestamp", "available_at"] if not declared.get(setting) %}
        {% do exceptions.raise_compiler_error(
            where
            ~ " declares no `"
            ~ setting
            ~ "`. Write it under config.meta.feature_view"
            ~ (", or `available_at: none` to waive it." if setting == "available_at" else ".")
        ) %}
    {% endfor %}

    {% set join_keys = feature_warehouse._join_keys(id, where) %}
    {% set waived = declared.available_at == "none" %}
    {% set times = [declared.event_timestamp] if waived else [declared.event_timestamp, declared.available_at] %}
    {% set deleted = [declared.deleted] if declared.get("deleted") else [] %}

    {% for column in join_keys + times + deleted if column not in columns %}
        {% do exceptions.raise_compiler_error(
            where
            ~ " names the column `"
            ~ column
            ~ "`, which is not among its columns ("
            ~ columns.keys() | join(", ")
            ~ "). Add the column with its data_type to the model's YAML."
        ) %}
    {% endfor %}

    {% for column in times if not feature_warehouse._is_zoned(columns[column]) %}
        {% do exceptions.raise_compiler_error(
            where
            ~ " has the time column `"
            ~ column
            ~ "` of type "
            ~ columns[column]
            ~ ", which has no zone. Declare it timestamptz and convert it in the model: "
            ~ feature_warehouse._as_instant(column)
            ~ " (or the zone its clock stood in)."
        ) %}
    {% endfor %}

    {# The same table as syncer/feature_warehouse/registry/feature.py, TIERS. #}
    {% set tiers = {"static": none, "daily": 86400, "hourly": 3600, "near_real_time": 60} %}
    {% set tier = declared.get("tier") or "daily" %}

    {% if tier not in tiers %}
        {% do exceptions.raise_compiler_error(
            where ~ " has the tier '" ~ tier ~ "'. Write one of " ~ tiers.keys() | join(", ") ~ "."
        ) %}
    {% endif %}

    {% set expected = feature_warehouse._seconds(declared.get("expected_every"), where ~ ", expected_every") %}

    {% set view = {
        "id": id,
        "relation": relation,
        "join_keys": join_keys,
        "event_timestamp": declared.event_timestamp,
        "available_at": none if waived else declared.available_at,
        "deleted": declared.get("deleted"),
        "ttl_seconds": feature_warehouse._seconds(declared.get("ttl"), where ~ ", ttl"),
        "sync_delay_seconds": feature_warehouse._seconds(declared.get("sync_delay"), where ~ ", sync_delay"),
        "tier": tier,
        "expected_every_seconds": tiers[tier] if expected is none else expected,
        "history": declared.get("history"),
        "settled": declared.get("settled"),
        "has_append_only_test": fact.get("has_append_only_test", true),
        "stored": fact.get("materialized") in ["table", "incremental"],
        "features": columns.keys() | reject("in", join_keys + times + deleted) | list,
        "columns": columns,
    } %}

    {{ return(view) }}

{% endmacro %}

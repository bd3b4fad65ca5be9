{# Rolling aggregates over events as the history of a feature view. Semantics: docs/reference/windows.md. #}
{% macro rolling_features(events, join_keys, event_timestamp, available_at, features, changed_since=none) %}

    {# While parsing, the refs in the arguments are all that dbt wants; the columns that the model declares are not there yet. #}
    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set macro_name = "rolling_features" %}

    {% if join_keys is string or join_keys is mapping or join_keys is not iterable or not join_keys %}
        {% do exceptions.raise_compiler_error(
            macro_name ~ ": `join_keys` must be a list of columns, got '" ~ join_keys ~ "'. Write join_keys=['<column>', ...]."
        ) %}
    {% endif %}

    {% if event_timestamp is not string %}
        {% do exceptions.raise_compiler_error(
            macro_name ~ ": `event_timestamp` must be the name of a column, got '" ~ event_timestamp ~ "'."
        ) %}
    {% endif %}

    {% if available_at is not none and available_at is not string %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": `available_at` must be the name of a column, or none to waive it, got '"
            ~ available_at
            ~ "'."
        ) %}
    {% endif %}

    {% set available_at = none if available_at == "none" else available_at %}
    {% set plan = feature_warehouse._rolling_plan(features, join_keys, macro_name) %}
    {% set select = adapter.dispatch("rolling_select", "feature_warehouse")(
        events=events,
        join_keys=join_keys,
        event_timestamp=event_timestamp,
        available_at=available_at or event_timestamp,
        plan=plan,
        changed_since=changed_since,
    ) %}

    {{ return(feature_warehouse._rolling_declaration(join_keys, event_timestamp, available_at, features, plan) ~ "\n" ~ select) }}

{% endmacro %}

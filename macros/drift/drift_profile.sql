{# One row per period and feature: what the values were like, and how far they have moved from the reference. #}
{% macro drift_profile(
    relation, reference, period="day", timestamp=none, features=none, service=none, look=0.1, act=0.25, minimum_rows=100
) %}

    {{ config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key=["period_start", "feature"],
        on_schema_change="fail",
        meta={"drift": "profile"},
    ) }}

    {# While parsing, the refs in the arguments are all that dbt wants; the metadata is not there yet. #}
    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set macro_name = "drift_profile" %}

    {% if period not in ["hour", "day", "week"] %}
        {% do exceptions.raise_compiler_error(macro_name ~ ": `period` is '" ~ period ~ "'. Write hour, day or week.") %}
    {% endif %}

    {% set source = feature_warehouse._drift_source(relation, timestamp, features, service, macro_name) %}

    {% for name, feature in source.features.items() %}
        {% set settings = {"look": look, "act": act, "minimum_rows": minimum_rows} %}

        {% if feature.settings is not mapping or feature.settings.keys() | reject("in", settings.keys()) | list %}
            {% do exceptions.raise_compiler_error(
                macro_name
                ~ ": config.meta.drift of '"
                ~ name
                ~ "' is "
                ~ feature.settings
                ~ ". Write look, act, minimum_rows, such as `drift: {look: 0.2, act: 0.5}`, or `drift: false`."
            ) %}
        {% endif %}

        {% do settings.update(feature.settings) %}

        {% for setting, value in settings.items() if value is not number or value is boolean or value < 0 %}
            {% do exceptions.raise_compiler_error(
                macro_name ~ ": `" ~ setting ~ "` of '" ~ name ~ "' is '" ~ value ~ "'. Write a number from 0 on."
            ) %}
        {% endfor %}

        {% if settings.look > settings.act %}
            {% do exceptions.raise_compiler_error(
                macro_name
                ~ ": of '"
                ~ name
                ~ "' `look` ("
                ~ settings.look
                ~ ") is above `act` ("
                ~ settings.act
                ~ "). Give both, `look` first."
            ) %}
        {% endif %}

        {% do feature.update(settings) %}
    {% endfor %}

    {{ return(
        adapter.dispatch("drift_profile_select", "feature_warehouse")(source=source, reference=reference, period=period)
    ) }}

{% endmacro %}

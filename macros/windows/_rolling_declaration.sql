{# What rolling_features was called with, as a comment at the head of its SQL: `syncer` calls the macro once more like that, and
   where it gives the same words judges the call instead of the SQL (syncer/feature_warehouse/sql/rolling.py). The number is
   the format's, and the meaning's: another one for arguments that no longer mean what they meant. The events and
   `changed_since` name relations, which are called otherwise in every target, so they stand in the SQL alone. #}
{% macro _rolling_declaration(join_keys, event_timestamp, available_at, features, plan) %}

    {% set said = [] %}

    {% for feature in features %}
        {% set given = dict(feature, data_type=plan.features[loop.index0].data_type) %}
        {% set settings = {} %}

        {% for name, value in given.items() if value is not none %} {% do settings.update({name: value}) %} {% endfor %}

        {% do said.append(tojson(settings, sort_keys=true)) %}
    {% endfor %}

    {% set call = tojson(
        {"join_keys": join_keys | list, "event_timestamp": event_timestamp, "available_at": available_at}, sort_keys=true
    ) %}
    {% set json = call[:-1] ~ ', "features": [\n' ~ said | join(",\n") ~ "\n]}" %}

    {# A slash stands in texts alone; written so, none ends the comment or begins another one. #}
    {{ return("/* rolling_features 1\n" ~ json | replace("/", "\\u002f") ~ " */") }}

{% endmacro %}

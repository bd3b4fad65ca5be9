{# "7 days" -> 604800; none stays none. A day is 24 hours: SQL gets hours or smaller, since an interval of days follows the
   session's clock changes. The same rule as syncer/feature_warehouse/registry/feature.py, `parse_duration`. #}
{% macro _seconds(duration, where) %}

    {% if duration is none %} {{ return(none) }} {% endif %}

    {% set units = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800} %}
    {% set words = (duration | string | lower).split() %}
    {% set unit = words[1] if words | length == 2 else "" %}
    {% set unit = unit[:-1] if unit.endswith("s") else unit %}

    {% if unit not in units or not words[0].isdigit() %}
        {% do exceptions.raise_compiler_error(
            where ~ ": '" ~ duration ~ "' is not a duration. Write a whole number and a unit, such as '90 minutes' or '7 days'."
        ) %}
    {% endif %}

    {{ return(words[0] | int * units[unit]) }}

{% endmacro %}

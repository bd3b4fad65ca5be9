{# Refuses a setting that nobody would read: 'tll' for 'ttl' would leave values valid for ever. `what` is checked, as `part`
   of _known_settings. #}
{% macro _check_settings(declared, part, what) %}

    {% set known = feature_warehouse._known_settings()[part] %}

    {% if declared is not mapping %}
        {% do exceptions.raise_compiler_error(
            what ~ " is '" ~ declared ~ "', not a mapping. Its settings are " ~ known | sort | join(", ") ~ "."
        ) %}
    {% endif %}

    {% for setting in declared if setting not in known %}
        {% do exceptions.raise_compiler_error(
            what ~ " has the unknown setting '" ~ setting ~ "'. "
            ~ (feature_warehouse._feast_words()[part].get(setting) or feature_warehouse._closest(setting, known))
        ) %}
    {% endfor %}

{% endmacro %}

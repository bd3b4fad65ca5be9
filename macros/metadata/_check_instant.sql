{# Refuses a text that does not name an instant: date, time and zone. #}
{% macro _check_instant(text, macro_name, argument) %}

    {% set words = text | string | trim %}
    {% set clock = words[10:] %}

    {% if not (words[4:5] == "-" and words[7:8] == "-" and (clock.endswith("Z") or "+" in clock or "-" in clock)) %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": "
            ~ argument
            ~ " is '"
            ~ text
            ~ "', which names no instant. Write date, time and zone, such as '2013-02-01T00:00:00Z'."
        ) %}
    {% endif %}

{% endmacro %}

{# A name as the database takes it whatever it is: a keyword, with blanks, with quotes in it. Of a list, a list. #}
{% macro _quoted(names) %}

    {% if names is not string %}
        {% set quoted = [] %}

        {% for name in names %} {% do quoted.append(feature_warehouse._quoted(name)) %} {% endfor %}

        {{ return(quoted) }}
    {% endif %}

    {% set mark = adapter.quote("x")[0] %}

    {{ return(adapter.quote(names | replace(mark, mark * 2))) }}

{% endmacro %}

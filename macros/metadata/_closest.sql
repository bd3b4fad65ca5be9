{# The hint for a word that is not known: the nearest known one, or all of them. Near is what shares, in the same order, six
   tenths of both words' letters; the hints of `syncer`, from Python's difflib, are nearly always the same. #}
{% macro _closest(word, known) %}

    {% set nearest = namespace(word=none, share=0.6) %}

    {% for name in known | sort %}
        {# The longest common subsequence, a row per letter of the word. #}
        {% set rows = namespace(last=[0] * (name | length + 1)) %}

        {% for letter in word | string %}
            {% set row = [0] %}

            {% for other in name %}
                {% set up, left, before = rows.last[loop.index], row[-1], rows.last[loop.index0] %}
                {% do row.append(before + 1 if other == letter else [up, left] | max) %}
            {% endfor %}

            {% set rows.last = row %}
        {% endfor %}

        {% set share = 2 * rows.last[-1] / (word | string | length + name | length) %}

        {% if share >= nearest.share and (nearest.word is none or share > nearest.share) %}
            {% set nearest.word, nearest.share = name, share %}
        {% endif %}
    {% endfor %}

    {{ return("Did you mean '" ~ nearest.word ~ "'?" if nearest.word else "Use " ~ known | sort | join(", ") ~ ".") }}

{% endmacro %}

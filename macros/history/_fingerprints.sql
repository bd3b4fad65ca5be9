{# One row per UTC day of availability: {available_on, row_count, fingerprint}, of the given columns of a feature view. The
   fingerprint does not depend on the order of the rows, but on how often each is there. `condition` is on available_on. #}
{% macro _fingerprints(view, columns, condition) %}
    select
        available_on,
        count(*) as row_count,
        {{ adapter.dispatch("sum_of_hashes", "feature_warehouse")("row_text") }} as fingerprint
    from
        (
            select
                {{ feature_warehouse._utc_date(feature_warehouse._quoted(view.available_at or view.event_timestamp)) }}
                as available_on,
                {{ dbt.concat(feature_warehouse._column_texts(view, columns)) }} as row_text
            from {{ view.relation }}
        ) as history
    where {{ condition }}
    group by available_on
{% endmacro %}

{# Each value as a text with its length before it, so that neither NULL and 'null' nor two neighbours can be mistaken for
   each other. Texts, because they are the same in every release of a database, which its own hash function need not be;
   instants in UTC, whatever the session's zone. #}
{% macro _column_texts(view, columns) %}

    {% set texts = [] %}

    {% for column in columns %}
        {% set name = feature_warehouse._quoted(column) %}
        {% set is_instant = feature_warehouse._key_kind(view.columns[column]) == "an instant" %}
        {% set text = adapter.dispatch("value_text", "feature_warehouse")(
            feature_warehouse._utc_clock(name) if is_instant else name
        ) %}
        {% do texts.append(
            "coalesce(" ~ dbt.concat(["cast(length(" ~ text ~ ") as " ~ dbt.type_string() ~ ")", "':'", text]) ~ ", 'null')"
        ) %}
    {% endfor %}

    {{ return(texts) }}

{% endmacro %}

{% macro default__value_text(value) %} {{ return("cast(" ~ value ~ " as " ~ dbt.type_string() ~ ")") }} {% endmacro %}

{# A cast would follow the session's DateStyle; JSON has one way to write a date. #}
{% macro postgres__value_text(value) %} {{ return("cast(to_json(" ~ value ~ ") as text)") }} {% endmacro %}

{% macro duckdb__sum_of_hashes(text) %} cast(sum(md5_number_lower({{ text }})) as varchar) {% endmacro %}

{# 120 bits of MD5 in two sums. A record names the engine that made it: texts of values are its own. #}
{% macro postgres__sum_of_hashes(text) %}
    concat(
        'postgres:',
        {% for first in [1, 16] %}
            sum(cast(cast(concat('x', substr(md5({{ text }}), {{ first }}, 15)) as bit(60)) as bigint))
            {% if not loop.last %}, ',', {% endif %}
        {% endfor %}
    )
{% endmacro %}

{# Sorted, and hashed as one text. #}
{% macro default__sum_of_hashes(text) %}
    {{ dbt.hash(dbt.listagg(dbt.hash(text), "','", "order by " ~ dbt.hash(text))) }}
{% endmacro %}

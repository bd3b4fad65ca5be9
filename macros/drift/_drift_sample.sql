{# The rows that count, as a query: {__period_start, the features}. A row counts in the period of its event time, once, in the
   newest revision known now. `condition` is one on the source's own columns. #}
{% macro _drift_sample(source, period, condition) %}

    {% set event = feature_warehouse._quoted(source.event_timestamp) %}
    {% set known = feature_warehouse._quoted(source.available_at or source.event_timestamp) %}
    {% set deleted = feature_warehouse._quoted(source.deleted) if source.deleted %}
    {% set revises = source.available_at is not none %}

    select
        {{ feature_warehouse._period_start(event, period) }} as __period_start
        {% for feature in feature_warehouse._quoted(source.features.keys()) %}, {{ feature }} {% endfor %}
    from
    {% if revises %}
            (
                select
                    *,
                    row_number() over (
                        partition by {{ feature_warehouse._quoted(source.join_keys) | join(", ") }}, {{ event }}
                        order by {{ known }} desc
                    ) as __revision
                from {{ source.relation }}
                where {{ feature_warehouse._drift_counts(source) }} and {{ condition }}
            ) as revisions
        where __revision = 1 {% if deleted %} and not coalesce({{ deleted }}, false) {% endif %}
    {% else %}
            {{ source.relation }}
        where
            {{ feature_warehouse._drift_counts(source) }} and {{ condition }}
            {% if deleted %} and not coalesce({{ deleted }}, false)
            {% endif %}
    {% endif %}

{% endmacro %}

{# Whether a row of the source is known now, and of an entity. #}
{% macro _drift_counts(source) %}
    {{ feature_warehouse._quoted(source.available_at or source.event_timestamp) }}
    <= {{ feature_warehouse.current_instant() }}
    {% for key in feature_warehouse._quoted(source.join_keys) %} and {{ key }} is not null {% endfor %}
{% endmacro %}

{# The first instant of the UTC hour, day or week (from Monday on) that holds an instant. #}
{% macro _period_start(instant, period) %}
    {{ return(
        feature_warehouse._from_utc_clock(dbt.date_trunc(period, feature_warehouse._utc_clock(instant)))
    ) }}
{% endmacro %}

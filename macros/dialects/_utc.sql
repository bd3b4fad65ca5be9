{# What a clock in UTC shows at an instant, as a timestamp without a zone; and the date in UTC. Neither depends on the zone of
   the session. #}
{% macro _utc_clock(instant) %} {{ return(adapter.dispatch("utc_clock", "feature_warehouse")(instant)) }} {% endmacro %}

{% macro default__utc_clock(instant) %} {{ return(instant ~ " at time zone 'UTC'") }} {% endmacro %}

{% macro _utc_date(instant) %} {{ return(adapter.dispatch("utc_date", "feature_warehouse")(instant)) }} {% endmacro %}

{% macro default__utc_date(instant) %}
    {{ return("cast(" ~ feature_warehouse._utc_clock(instant) ~ " as date)") }}
{% endmacro %}

{# The reverse: the instant at which a clock in UTC shows this. #}
{% macro _from_utc_clock(clock) %}
    {{ return(adapter.dispatch("from_utc_clock", "feature_warehouse")(clock)) }}
{% endmacro %}

{% macro default__from_utc_clock(clock) %} {{ return(clock ~ " at time zone 'UTC'") }} {% endmacro %}

{# What errors tell to write for a column of times without a zone. #}
{% macro _as_instant(column) %}

    {% set is_plain = modules.re.fullmatch("[A-Za-z_]\\w*", column) %}

    {{ return(feature_warehouse._from_utc_clock(column if is_plain else feature_warehouse._quoted(column))) }}

{% endmacro %}

{# What a clock in UTC shows at an instant, as a timestamp without a zone; and the date in UTC. Neither depends on the zone of
   the session. #}
{% macro _utc_clock(instant) %} {{ return(adapter.dispatch("utc_clock", "feature_warehouse")(instant)) }} {% endmacro %}

{% macro default__utc_clock(instant) %} {{ return(instant ~ " at time zone 'UTC'") }} {% endmacro %}

{% macro _utc_date(instant) %} {{ return(adapter.dispatch("utc_date", "feature_warehouse")(instant)) }} {% endmacro %}

{% macro default__utc_date(instant) %}
    {{ return("cast(" ~ feature_warehouse._utc_clock(instant) ~ " as date)") }}
{% endmacro %}

{# The reverse: the instant at which a clock in UTC shows this. It is what errors tell to write for a time without a zone. #}
{% macro _from_utc_clock(clock) %}
    {{ return(adapter.dispatch("from_utc_clock", "feature_warehouse")(clock)) }}
{% endmacro %}

{% macro default__from_utc_clock(clock) %} {{ return(clock ~ " at time zone 'UTC'") }} {% endmacro %}

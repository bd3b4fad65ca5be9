{# True for a data type, as authored or as the database reports it, that is an instant. #}
{% macro _is_zoned(data_type) %}
    {{ return("with time zone" in data_type | lower or data_type | lower | trim in ["timestamptz", "timestamp_tz"]) }}
{% endmacro %}

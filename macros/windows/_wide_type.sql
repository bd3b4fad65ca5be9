{# The type in which to sum values of a type: a wider one, in which sums are exact; double, for _halves; none if unknown. #}
{% macro _wide_type(data_type) %}

    {% set words = (data_type or "") | lower | replace(")", "") | replace("(", ",") %}
    {% set parts = words.split(",") %}
    {% set name = parts[0] | trim %}

    {% if name in ["decimal", "numeric"] %}
        {{ return("decimal(38, " ~ (parts[2] | trim if parts | length > 2 else 0 if parts | length > 1 else 3) ~ ")") }}
    {% elif name in [
        "tinyint", "smallint", "integer", "int", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint",
        "int1", "int2", "int4", "int8", "short", "signed", "long",
    ] %}
        {{ return("hugeint") }}
    {% elif name in ["double", "double precision", "float8", "float", "float4", "real"] %} {{ return("double") }}
    {% endif %}

    {{ return(none) }}

{% endmacro %}

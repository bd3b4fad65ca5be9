{# What a join key of this type is compared as; none for a type that is not known here. Databases compare a number with a
   text by converting one of them, so that 7 meets '007': keys of different kinds are refused. #}
{% macro _key_kind(data_type) %}

    {% set name = modules.re.sub(" *[(].*?[)]", "", data_type | lower) | trim %}
    {% set kinds = {
        "an integer": (
            "tinyint smallint integer int int2 int4 int8 bigint long hugeint utinyint usmallint uinteger ubigint uhugeint"
        ).split(),
        "a text": ["varchar", "text", "string", "char", "character varying", "bpchar"],
        "a number with a fraction": [
            "double", "double precision", "float", "real", "float4", "float8", "decimal", "numeric",
        ],
        "a date": ["date"],
        "an instant": ["timestamptz", "timestamp with time zone"],
        "a time without a zone": ["timestamp", "timestamp without time zone", "datetime"],
        "a boolean": ["boolean", "bool"],
        "a uuid": ["uuid"],
    } %}

    {% for kind, names in kinds.items() if name in names %} {{ return(kind) }} {% endfor %}

    {{ return(none) }}

{% endmacro %}

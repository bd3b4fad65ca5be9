{# A condition that is true of a column of instants and fails, with these words, on one of another type. Only the database can
   tell where the relation is not built when dbt compiles: a subquery, an ephemeral model, a unit test. #}
{% macro _instant_or_error(column, words) %}
    {{ return(adapter.dispatch("instant_or_error", "feature_warehouse")(column, words)) }}
{% endmacro %}

{% macro duckdb__instant_or_error(column, words) %}
    case
        when typeof({{ column }}) = 'TIMESTAMP WITH TIME ZONE'
        then true
        else error({{ feature_warehouse._text(words) }})
    end
{% endmacro %}

{# PostgreSQL has no function that fails, so a cast does. The type is joined to the words so that nothing is computed, and
   fails, before there is a row. #}
{% macro postgres__instant_or_error(column, words) %}
    case
        when pg_typeof({{ column }}) = cast('timestamp with time zone' as regtype)
        then true
        else
            cast(
                concat(
                    {{ feature_warehouse._text(words ~ " It is a ") }}, cast(pg_typeof({{ column }}) as text), '.'
                ) as boolean
            )
    end
{% endmacro %}

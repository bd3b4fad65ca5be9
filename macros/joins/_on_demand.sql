{# What a training set of a service computes per row: {"service": id, "request": {name: type}, "features": [{name, data_type,
   expression}]}; none where it computes nothing. syncer/feature_warehouse/client/ondemand.py evaluates the same expressions at request time. #}
{% macro _on_demand(service, macro_name, spine_columns=[]) %}

    {% set declared = feature_warehouse.service_facts()[service] if service is not none else {} %}

    {% if not declared.get("on_demand") %} {{ return(none) }} {% endif %}

    {% set request = declared.get("request") or {} %}
    {% set folded = spine_columns | map("lower") | list %}

    {% for name in request if folded and name | lower not in folded %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": the spine has no column '"
            ~ name
            ~ "', a request value of "
            ~ service
            ~ " from which its on-demand features are computed. Add it, as "
            ~ request[name]
            ~ "."
        ) %}
    {% endfor %}

    {% for feature in declared.on_demand if feature.name | lower in folded %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": the spine already has a column '"
            ~ feature.name
            ~ "', which is also an on-demand feature of "
            ~ service
            ~ ". Leave the column out of the spine."
        ) %}
    {% endfor %}

    {{ return({"service": service, "request": request, "features": declared.on_demand}) }}

{% endmacro %}

{# The select that computes them from the rows of `final`. #}
{% macro _select_on_demand(on_demand) %}

    {% set other_settings = (
        "the on-demand features of "
        ~ on_demand.service
        ~ " would not be those computed online. In the settings of the profile give TimeZone as UTC, and remove others of "
    ) %}
    {% set other_type = "which is not the type that " ~ on_demand.service ~ " requests. Cast it in the spine: " %}

    {# The same expression gives the same value online if settings and types are the same. And no case, no value: what several
       expressions share DuckDB computes once, which it also takes out of `try`, but not out of a case. #}
    select
        final.*
        {%- for feature in on_demand.features %}
            ,
            case
                when as_online.__settings then {{ feature_warehouse._named_when_it_fails(feature, on_demand.service) }}
            end as {{ feature_warehouse._quoted(feature.name) }}
        {%- endfor %}
    from final
    cross join
        (
            select
                case
                    when count(*) = 0
                    then true
                    else
                        error({{ feature_warehouse._text(other_settings) }} || string_agg(name || ' = ' || value, ', '))
                end as __settings
            from duckdb_settings()
            where
                (name = 'TimeZone' and value not in ('UTC', 'Etc/UTC'))
                or (name in ('integer_division', 'disable_timestamptz_casts') and value = 'true')
                or (name in ('ieee_floating_point_ops', 'error_on_division_by_zero') and value = 'false')
                or (name = 'Calendar' and value not in ('gregorian', ''))
                or (name = 'default_collation' and value not in ('', 'binary'))
                or (name = 'regex_match_operator_semantics' and value != 'partial')
        ) as as_online
    where
        true
        {%- for name, data_type in on_demand.request.items() %}
            and case
                when typeof({{ feature_warehouse._quoted(name) }}) = typeof(cast(null as {{ data_type }}))
                then true
                else
                    error(
                        {{ feature_warehouse._text("the spine's column '" ~ name ~ "' is ") }}
                        || typeof({{ feature_warehouse._quoted(name) }})
                        || {{ feature_warehouse._text(", " ~ other_type ~ name ~ "::" ~ data_type) }}
                    )
            end
        {%- endfor %}

{% endmacro %}

{# An error inside a list makes no list, so `try` tells a failure from a NULL, and the failure gets a name. The twin of
   `checked` in syncer/feature_warehouse/client/ondemand.py. #}
{% macro _named_when_it_fails(feature, service) -%}
    {%- set said = (
        "the on-demand feature " ~ feature.name ~ " of " ~ service ~ " cannot be computed: " ~ feature.expression
    ) -%}
    {%- set value = "cast(\n" ~ feature.expression ~ "\nas " ~ feature.data_type ~ ")" -%}
    coalesce(try([{{ value }}]), cast(error({{ feature_warehouse._text(said) }}) as {{ feature.data_type ~ "[]" }}))[1]
{%- endmacro %}

{# Where point_in_time_join finds the settled history of a view; none where it has to do without. dbt builds what a model
   names before it, so only a settled history that the calling model names is read. #}
{% macro _settled(view, macro_name) %}

    {% if not view.settled or not var("feature_warehouse_settled", true) %} {{ return(none) }} {% endif %}

    {% for reference in model.refs if reference.name == view.settled %}
        {{ return(ref(reference.package, reference.name) if reference.get("package") else ref(reference.name)) }}
    {% endfor %}

    {% do log(
        macro_name
        ~ ": "
        ~ view.id
        ~ " has a settled history, which "
        ~ model.name
        ~ " does not name, so it is joined without. To use it, write -- depends_on: {{ ref('"
        ~ view.settled
        ~ "') }} above the join",
        info=true,
    ) %}

    {{ return(none) }}

{% endmacro %}

{# What a settled history keeps of a view beside keys and times, in the order of its fingerprints. #}
{% macro _settled_columns(view) %}
    {{ return(((([view.deleted] if view.deleted else []) + view.features) | unique | list)) }}
{% endmacro %}

{# The literal that says of which columns, in which roles, a settled history was made. #}
{% macro _settled_signature(view) %}

    {% set types = [] %}

    {% for column in view.join_keys + [view.event_timestamp] + ([view.available_at] if view.available_at else []) %}
        {% do types.append([column, view.columns[column]]) %}
    {% endfor %}
    {% for column in feature_warehouse._settled_columns(view) %}
        {% do types.append([column, view.columns[column]]) %}
    {% endfor %}

    {{ return(
        feature_warehouse._text(
            tojson([view.id, view.join_keys, view.event_timestamp, view.available_at, view.deleted, types])
        )
    ) }}

{% endmacro %}

{# The UTC day of an instant, as a number; what is infinite has days of its own, beyond the calendar's ends. #}
{% macro _day(instant) %}
    coalesce(
        divide(epoch_us({{ instant }}), 86400000000),
        case when {{ instant }} > timestamptz 'epoch' then 1000000000 else -1000000000 end
    )
{%- endmacro %}

{# The rows that can count at all. #}
{% macro _usable(view) %}
    {% for key in feature_warehouse._quoted(view.join_keys) %} {{ key }} is not null and {% endfor %}
    {{ feature_warehouse._quoted(view.event_timestamp) }} is not null
    {% if view.available_at %} and {{ feature_warehouse._quoted(view.available_at) }} is not null {% endif %}
{% endmacro %}

{% macro _row_hash(view) %}
    hash(
        {{ (feature_warehouse._quoted(view.join_keys + [view.event_timestamp] + ([view.available_at] if view.available_at else []))) | join(", ") }}
    )
{%- endmacro %}

{# Of each column what its values are told apart by: DuckDB's hash takes -0.0 for 0.0, and an empty list for NULL. #}
{% macro _fingerprints_of(view, columns) %}

    {% set found = [] %}

    {% for column in columns %}
        {% set name = feature_warehouse._quoted(column) %}
        {% set data_type = view.columns[column] | lower | trim %}
        {% do found.append(
            name ~ ", len(" ~ name ~ ")"
            if data_type.endswith("]")
            else name ~ ", signbit(" ~ name ~ ")"
            if data_type in ["double", "float", "real", "float4", "float8"]
            else name
        ) %}
    {% endfor %}

    {{ return(found) }}

{% endmacro %}

{# One fingerprint a column, so that a join has to look at the columns that it reads alone: the sum of the hashes of its
   values, each with its row's keys and times, whatever the order of the rows. Wants __row. #}
{% macro _sums(view, columns) %}
    {%- for print in feature_warehouse._fingerprints_of(view, columns) -%}
        sum(hash(__row, {{ print }})){{ ", " if not loop.last }}
    {%- endfor -%}
{% endmacro %}

{% macro _of(alias, view) %}
    {%- for key in feature_warehouse._quoted(view.join_keys) -%}
        {{ alias }}.{{ key }}{{ ", " if not loop.last }}
    {%- endfor -%}
{% endmacro %}

{% macro _joined(left, right, view) %}
    {%- for key in feature_warehouse._quoted(view.join_keys) -%}
        {{ left }}.{{ key }} = {{ right }}.{{ key }}{{ " and " if not loop.last }}
    {%- endfor -%}
{% endmacro %}

{# True where the settled history that a join reads was made of the rows that the view has now, as far as this join looks at
   them; else an error. It costs one pass over the view's keys, times and the columns that are read. #}
{% macro _settled_is_current(read) %}

    {% set view = read.view %}
    {% set columns = feature_warehouse._settled_columns(view) %}
    {% set checked = [] %}

    {% for column in columns if column == view.deleted or column in read["columns"] %}
        {% do checked.append(column) %}
    {% endfor %}

    case
        when
            (
                select
                    recorded.__row_count = present.__row_count and recorded.__sums is not distinct from present.__sums
                from
                    (
                        select count(*) as __row_count, [{{ feature_warehouse._sums(view, checked) }}] as __sums
                        from
                            (
                                select *, {{ feature_warehouse._row_hash(view) }} as __row
                                from {{ view.relation }}
                                where {{ feature_warehouse._usable(view) }}
                            ) as history
                    ) as present
                cross join
                    (
                        select
                            case
                                when
                                    coalesce(
                                        bool_and(__columns = {{ feature_warehouse._settled_signature(view) }}), true
                                    )
                                then coalesce(sum(__row_count), 0)
                            end as __row_count,
                            [
                                {%- for column in checked -%}
                                    sum(__fingerprints[{{ columns.index(column) + 1 }}]){{ ", " if not loop.last }}
                                {%- endfor -%}
                            ] as __sums
                        from {{ read.settled }}
                        where __row_count is not null
                    ) as recorded
            )
        then true
        else
            error(
                {{ feature_warehouse._text(
                    "point_in_time_join: "
                    ~ view.settled
                    ~ " was not made of the rows that "
                    ~ view.id
                    ~ " has now. Run dbt run --select "
                    ~ view.settled
                    ~ ", or join without it, with the var feature_warehouse_settled: false"
                ) }}
            )
    end

{% endmacro %}

{# The spine's column names after checking them against what is read; [] where nobody can tell (a subquery, an ephemeral
   model, a unit test, a spine that is not built yet). `types`: {column: data type} where the caller knows better. #}
{% macro _spine_columns(spine, spine_timestamp, reads, macro_name, types=none) %}

    {% if types is none %}
        {% set types = {} %}
        {% set columns = [] if spine is string else adapter.get_columns_in_relation(spine) %}

        {% for column in columns %} {% do types.update({column.name: column.data_type}) %} {% endfor %}
    {% endif %}

    {% if not types %} {{ return([]) }} {% endif %}

    {# Databases find a column whatever its case; names that differ in case alone would clash unseen. #}
    {% set folded = {} %}

    {% for name, data_type in types.items() %} {% do folded.update({name | lower: data_type}) %} {% endfor %}

    {% if spine_timestamp | lower not in folded %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": `spine_timestamp` is '"
            ~ spine_timestamp
            ~ "', but the spine "
            ~ spine
            ~ " has the columns "
            ~ types.keys() | join(", ")
            ~ "."
        ) %}
    {% elif not feature_warehouse._is_zoned(folded[spine_timestamp | lower]) %}
        {% do exceptions.raise_compiler_error(
            feature_warehouse._naive_spine(spine_timestamp, folded[spine_timestamp | lower], macro_name)
        ) %}
    {% endif %}

    {% for read in reads %}
        {% for key, column in read["keys"].items() if column | lower not in folded %}
            {% do exceptions.raise_compiler_error(
                macro_name
                ~ ": the spine "
                ~ spine
                ~ " has no column '"
                ~ column
                ~ "' to match the join key '"
                ~ key
                ~ "' of "
                ~ read.view.id
                ~ ". Add it, or say which column it is: {'view': ref(...), 'keys': {'"
                ~ key
                ~ "': '<spine column>'}}."
            ) %}
        {% endfor %}

        {% for key, column in read["keys"].items() %}
            {% set given = feature_warehouse._key_kind(folded[column | lower]) %}
            {% set wanted = feature_warehouse._key_kind(read.view.columns[key]) %}

            {% if given and wanted and given != wanted %}
                {% do exceptions.raise_compiler_error(
                    macro_name
                    ~ ": the spine's column '"
                    ~ column
                    ~ "' is "
                    ~ given
                    ~ " ("
                    ~ folded[column | lower]
                    ~ "), but the join key '"
                    ~ key
                    ~ "' of "
                    ~ read.view.id
                    ~ " is "
                    ~ wanted
                    ~ ". Cast it in the spine: "
                    ~ column
                    ~ "::"
                    ~ read.view.columns[key]
                    ~ "."
                ) %}
            {% endif %}
        {% endfor %}

        {% for output in read["columns"].values() if output | lower in folded %}
            {% do exceptions.raise_compiler_error(
                macro_name
                ~ ": the spine already has a column '"
                ~ output
                ~ "', which is also a feature of "
                ~ read.view.id
                ~ ". Give the feature view a prefix, or leave the column out of the spine."
            ) %}
        {% endfor %}
    {% endfor %}

    {{ return(types.keys() | list) }}

{% endmacro %}

{% macro _naive_spine(spine_timestamp, data_type, macro_name) %}
    {{ return(
        macro_name
        ~ ": `spine_timestamp` is the column '"
        ~ spine_timestamp
        ~ "'"
        ~ (" of type " ~ data_type if data_type else "")
        ~ ", which has no zone, so it names no instant. Convert it in the spine: "
        ~ feature_warehouse._as_instant(spine_timestamp)
        ~ " (or the zone its clock stood in)."
    ) }}
{% endmacro %}

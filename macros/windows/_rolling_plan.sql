{# What to compute, checked: {features, values, windows}.
   `features`: [{name, aggregate, value, window (seconds), n, data_type}], where `value` names what is aggregated (none: rows).
   `values`: {name: SQL over the events}, each expression once. `windows`: their seconds, each once, longest first. #}
{% macro _rolling_plan(features, join_keys, macro_name) %}

    {% set aggregates = {
        "count": "column, if only the events that have a value shall count",
        "sum": "column",
        "avg": "column",
        "min": "column",
        "max": "column",
        "stddev": "column",
        "count_distinct": "column",
        "rate": "condition",
        "last": "column",
        "last_n": "column and n",
    } %}
    {% set settings = ["name", "aggregate", "window", "column", "condition", "n", "data_type"] %}
    {% set example = "{'name': 'orders_7d', 'aggregate': 'count', 'window': '7 days'}" %}

    {% if features is string or features is mapping or features is not iterable or not features %}
        {% do exceptions.raise_compiler_error(
            macro_name ~ ": `features` must be a list of features, got '" ~ features ~ "'. Write features=[" ~ example ~ ", ...]."
        ) %}
    {% endif %}

    {% set planned = [] %}
    {% set values = {} %}
    {% set names = {} %}
    {% set taken = {"event_at": "the time column that the macro gives", "known_at": "the availability that the macro gives"} %}

    {% for key in join_keys %}
        {% if key | lower in taken %}
            {% do exceptions.raise_compiler_error(
                macro_name
                ~ ": the join key '"
                ~ key
                ~ "' has the name of "
                ~ taken[key | lower]
                ~ ". Rename it in a model before this one."
            ) %}
        {% endif %}

        {% do taken.update({key | lower: "a join key"}) %}
    {% endfor %}

    {% for feature in features %}
        {% if feature is not mapping or feature.get("name") is not string %}
            {% do exceptions.raise_compiler_error(
                macro_name ~ ": item " ~ loop.index ~ " of `features` has no name, got '" ~ feature ~ "'. Write " ~ example ~ "."
            ) %}
        {% endif %}

        {% set where = macro_name ~ ": feature '" ~ feature.name ~ "'" %}
        {% set aggregate = feature.get("aggregate") %}
        {% set counts_rows = aggregate == "count" and not feature.get("column") %}

        {% if feature.name | lower in taken %}
            {% do exceptions.raise_compiler_error(
                where ~ " has the name of " ~ taken[feature.name | lower] ~ ". Give it another name."
            ) %}
        {% elif aggregate not in aggregates %}
            {% do exceptions.raise_compiler_error(
                where ~ ": `aggregate` is '" ~ aggregate ~ "'. Write one of " ~ aggregates.keys() | join(", ") ~ "."
            ) %}
        {% endif %}

        {% for setting in feature.keys() if setting not in settings %}
            {% do exceptions.raise_compiler_error(
                where ~ " has the unknown setting '" ~ setting ~ "'. " ~ feature_warehouse._closest(setting, settings)
            ) %}
        {% endfor %}

        {% for setting in ["column", "condition", "n"] %}
            {% set wanted = (
                setting == "condition"
                if aggregate == "rate"
                else setting == "column" or (setting == "n" and aggregate == "last_n")
            ) %}

            {% if wanted and not feature.get(setting) and not counts_rows %}
                {% do exceptions.raise_compiler_error(
                    where ~ ": `" ~ setting ~ "` is missing. The aggregate " ~ aggregate ~ " needs " ~ aggregates[aggregate] ~ "."
                ) %}
            {% elif feature.get(setting) is not none and not wanted %}
                {% do exceptions.raise_compiler_error(
                    where
                    ~ ": the aggregate "
                    ~ aggregate
                    ~ " takes no `"
                    ~ setting
                    ~ "`, got '"
                    ~ feature[setting]
                    ~ "'. It takes "
                    ~ aggregates[aggregate]
                    ~ "."
                ) %}
            {% endif %}
        {% endfor %}

        {% if aggregate == "last_n" and (feature.n is not integer or feature.n < 1) %}
            {% do exceptions.raise_compiler_error(
                where ~ ": `n` is '" ~ feature.n ~ "'. Write how many values to keep, a whole number from 1 on."
            ) %}
        {% endif %}

        {% set seconds = feature_warehouse._seconds(feature.get("window"), where ~ ", `window`") %}

        {% if not seconds %}
            {% do exceptions.raise_compiler_error(
                where
                ~ ": `window` is '"
                ~ feature.get("window")
                ~ "'. Write how far back it looks, a whole number and a unit, such as '90 minutes' or '7 days'."
            ) %}
        {% endif %}

        {% set expression = (
            "case when " ~ feature_warehouse._rolling_expression(feature.condition) ~ " then 1 else 0 end"
            if aggregate == "rate"
            else feature_warehouse._rolling_expression(feature.get("column"))
        ) %}

        {% if not counts_rows and expression not in values %}
            {% do values.update({expression: "__value_" ~ (values | length + 1)}) %}
        {% endif %}

        {% do taken.update({feature.name | lower: "another feature"}) %}
        {% do planned.append(
            {
                "name": feature.name,
                "aggregate": aggregate,
                "value": none if counts_rows else values[expression],
                "window": seconds,
                "n": feature.get("n"),
                "data_type": feature.get("data_type") or feature_warehouse._declared_sum_type(feature.name, aggregate),
            }
        ) %}
    {% endfor %}

    {% for expression, name in values.items() %} {% do names.update({name: expression}) %} {% endfor %}

    {{ return(
        {"features": planned, "values": names, "windows": planned | map(attribute="window") | unique | sort(reverse=true) | list}
    ) }}

{% endmacro %}

{# A word alone is the name of a column, but for those that SQL itself gives a value; anything else is SQL as it stands. #}
{% macro _rolling_expression(written) %}

    {% set values = ["true", "false", "null", "current_date", "current_timestamp"] %}

    {% if written is string and modules.re.fullmatch("[A-Za-z_]\\w*", written) and written | lower not in values %}
        {{ return(feature_warehouse._quoted(written)) }}
    {% endif %}

    {{ return(written) }}

{% endmacro %}

{# The type that the model itself declares for a sum. The database's own would be a wider one (HUGEINT for integers). #}
{% macro _declared_sum_type(name, aggregate) %}

    {% set column = (model.get("columns") or {}).get(name) or {} %}

    {{ return(column.get("data_type") if aggregate == "sum" else none) }}

{% endmacro %}

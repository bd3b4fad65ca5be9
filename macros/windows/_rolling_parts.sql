{# Which of DuckDB's forms computes what, each thing once however many features need it:
   {lanes: [{name, window, expression}], distinct: [{name, window, value}], newest: [{name, value, n}],
   trees: {window: [(value, measure)]}, results: {feature: SQL over `points` and what is joined to it}}. #}
{% macro _rolling_parts(plan) %}

    {% set lanes = {} %}
    {% set distinct = {} %}
    {% set newest = {} %}
    {% set trees = {} %}
    {% set results = {} %}
    {% set measures = {"sum": ["sum"], "min": ["min"], "max": ["max"], "stddev": ["count", "mean", "spread"]} %}

    {% for feature in plan.features %}
        {% set aggregate = feature.aggregate %}
        {% set value = feature.value %}
        {% set window = feature.window %}
        {% set start = "points.__at - " ~ feature_warehouse._interval(window) %}
        {% set known = "case when " ~ value ~ " is not null then 1 end" if value else "1" %}
        {% set wide = feature_warehouse._wide_type(feature.data_type) if aggregate == "sum" else none %}
        {% set added = {
            "count": [known],
            "rate": [value, "1"],
            "sum": (
                feature_warehouse._halves("cast(" ~ value ~ " as double)")
                if wide == "double"
                else ["cast(" ~ value ~ " as " ~ wide ~ ")"]
                if wide
                else none
            ),
            "avg": feature_warehouse._halves(value) + [known],
        } %}

        {% if added.get(aggregate) %}
            {% set expressions = added[aggregate] %}
            {% set names = [] %}

            {% for expression in expressions %}
                {% set lane = window ~ " " ~ expression %}

                {% if lane not in lanes %}
                    {% do lanes.update(
                        {lane: {"name": "__lane_" ~ (lanes | length + 1), "window": window, "expression": expression}}
                    ) %}
                {% endif %}

                {% do names.append("points." ~ lanes[lane].name) %}
            {% endfor %}

            {% set result = {
                "count": names[0],
                "rate": "cast(" ~ names[0] ~ " as double) / nullif(" ~ names[1] ~ ", 0)",
                "sum": feature_warehouse._joined_halves(names) if wide == "double" else names[0],
                "avg": feature_warehouse._joined_halves(names) ~ " / nullif(" ~ names[2] ~ ", 0)",
            }[aggregate] %}

        {% elif aggregate == "count_distinct" %}
            {% set part = window ~ " " ~ value %}

            {% if part not in distinct %}
                {% do distinct.update(
                    {part: {"name": "__distinct_" ~ (distinct | length + 1), "window": window, "value": value}}
                ) %}
            {% endif %}

            {% set result = "points." ~ distinct[part].name %}

        {% elif aggregate in ["last", "last_n"] %}
            {% set part = value ~ " " ~ feature.n %}

            {% if part not in newest %}
                {% do newest.update(
                    {part: {"name": "__newest_" ~ (newest | length + 1), "value": value, "n": feature.n}}
                ) %}
            {% endif %}

            {% set found = newest[part].name ~ ".__newest" %}
            {% set result = (
                "coalesce([event.value for event in " ~ found ~ " if event.event_time > " ~ start ~ "], [])"
                if aggregate == "last_n"
                else "case when " ~ found ~ ".event_time > " ~ start ~ " then " ~ found ~ ".value end"
            ) %}

        {% else %}
            {% if window not in trees %} {% do trees.update({window: []}) %}
            {% endif %}

            {% for measure in measures[aggregate] if (value, measure) not in trees[window] %}
                {% do trees[window].append((value, measure)) %}
            {% endfor %}

            {% set found = "points." ~ value ~ "_" ~ window ~ "_" %}
            {% set result = {
                "sum": "coalesce(" ~ found ~ "sum, 0)",
                "min": found ~ "min",
                "max": found ~ "max",
                "stddev": feature_warehouse._tree_stddev(found),
            }[aggregate] %}
        {% endif %}

        {% set data_type = feature.data_type or ("bigint" if aggregate in ["count", "count_distinct"] else none) %}
        {% do results.update({feature.name: "cast(" ~ result ~ " as " ~ data_type ~ ")" if data_type else result}) %}
    {% endfor %}

    {{ return(
        {
            "lanes": lanes.values() | list,
            "distinct": distinct.values() | list,
            "newest": newest.values() | list,
            "trees": trees,
            "results": results,
        }
    ) }}

{% endmacro %}

{# The sample's standard deviation; 0 for equal values, whose nodes' means may differ by a rounding. #}
{% macro _tree_stddev(found) %}
    case
        when {{ found }}count < 2
        then null
        when {{ found }}spread <= {{ found }}count * pow({{ found }}mean * 1e-15, 2)
        then 0.0
        else sqrt({{ found }}spread / ({{ found }}count - 1))
    end
{% endmacro %}

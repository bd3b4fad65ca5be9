{# Fails with the features that have a value in too small a share of rows. An empty table covers nothing, so all fail. #}
{% test feature_coverage(model, minimum=none, minimum_by_feature=none, features=none) %}

    {% if execute %}
        {% set macro_name = "feature_coverage" %}
        {% set view_id = feature_warehouse._view_id_or_none(model) %}
        {% set view = feature_warehouse._feature_view(model, macro_name) if view_id else {} %}
        {% set columns = view.features if view_id else feature_warehouse._column_types(model).keys() | list %}
        {% set minimums = {} %}

        {% if minimum is not none %}
            {% for feature in features or columns %} {% do minimums.update({feature: minimum}) %} {% endfor %}
        {% elif features or not minimum_by_feature %}
            {% do exceptions.raise_compiler_error(
                macro_name ~ ": `minimum` is missing. Write the least share of values, such as `minimum: 0.95`."
            ) %}
        {% endif %}

        {% do minimums.update(minimum_by_feature or {}) %}

        {% for feature, share in minimums.items() %}
            {% if columns and feature not in columns %}
                {% do exceptions.raise_compiler_error(
                    macro_name
                    ~ ": "
                    ~ (view_id or model)
                    ~ (" has no feature '" if view_id else " has no column '")
                    ~ feature
                    ~ "'; it has "
                    ~ columns | join(", ")
                    ~ "."
                ) %}
            {% elif share is not number or share < 0 or share > 1 %}
                {% do exceptions.raise_compiler_error(
                    macro_name
                    ~ ": the minimum of '"
                    ~ feature
                    ~ "' is '"
                    ~ share
                    ~ "'. Write a share between 0 and 1, such as 0.95 for 95 percent."
                ) %}
            {% endif %}
        {% endfor %}

        with
            counted as (
                select
                    {% for feature in feature_warehouse._quoted(minimums.keys()) %}
                        count({{ feature }}) as {{ feature }}, {% endfor %} count(*) as __rows
                from {{ model }}
                -- a row that says an entity has gone carries no features
                {% if view.deleted %}
                    where not coalesce({{ feature_warehouse._quoted(view.deleted) }}, false)
                {% endif %}
            ),

            shares as (
                {% for feature, share in minimums.items() %}
                    {% set counted = "counted." ~ feature_warehouse._quoted(feature) %}
                    select
                        {{ feature_warehouse._text(feature) }} as feature,
                        coalesce({{ counted }} * 1.0 / nullif(__rows, 0), 0) as share,
                        {{ share }} as minimum,
                        __rows as row_count,
                        -- not share < minimum: in whole numbers and decimals the border is exact
                        __rows = 0 or {{ counted }} < {{ share }} * __rows as is_too_small
                    from counted {{ "union all" if not loop.last }}
                {% endfor %}
            ),

            validation_errors as (select feature, share, minimum, row_count from shares where is_too_small)

        select *
        from validation_errors
    {% endif %}

{% endtest %}

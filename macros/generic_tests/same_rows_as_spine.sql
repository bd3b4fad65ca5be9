{# Fails with the rows that a training set lost, gained or changed against its spine, duplicates counted. #}
{% test same_rows_as_spine(model, spine) %}

    {% if execute %}
        {% set columns = feature_warehouse._quoted(adapter.get_columns_in_relation(spine) | map(attribute="name") | list) | join(", ") %}

        with
            in_spine as (select {{ columns }} from {{ spine }}),

            in_training as (select {{ columns }} from {{ model }}),

            lost as (
                select *
                from in_spine
                except all
                select *
                from in_training
            ),

            gained as (
                select *
                from in_training
                except all
                select *
                from in_spine
            ),

            validation_errors as (
                select 'missing in the training set' as problem, *
                from lost
                union all
                select 'not in the spine' as problem, *
                from gained
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

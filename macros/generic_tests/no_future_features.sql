{# Fails with the training rows whose features differ from what was known at their time. Recomputed from the histories by
   other SQL than the join's (every known row, ranked), on a sample that is the same in every run. #}
{% test no_future_features(
    model, spine, spine_timestamp, feature_views, service=none, allow_equal=true, known_as_of=none, sample_size=1000
) %}

    {% if execute %}
        {% set macro_name = "no_future_features" %}
        {% set reads = feature_warehouse._feature_reads(feature_views, service, macro_name) %}
        {% set spine_columns = feature_warehouse._spine_columns(spine, spine_timestamp, reads, macro_name) %}
        {% set features = [] %}

        {% for read in reads %} {% do features.extend(read["columns"].values()) %} {% endfor %}

        {% set spine_names = feature_warehouse._quoted(spine_columns) %}
        {% set columns = spine_names + feature_warehouse._quoted(features) %}

        with
            sampled as (
                select {{ columns | join(", ") }}
                from {{ model }}
                order by md5(concat_ws('|', {{ spine_names | join(", ") }}))
                limit {{ sample_size }}
            ),

            recomputed as (
                {{ feature_warehouse.portable__point_in_time_select(
                    spine="sampled",
                    spine_columns=spine_columns,
                    spine_timestamp=spine_timestamp,
                    reads=reads,
                    on_demand=none,
                    allow_equal=allow_equal,
                    known_as_of=known_as_of,
                ) }}
            ),

            validation_errors as (
                select 'in the training set' as found, *
                from
                    (
                        select *
                        from sampled
                        except all
                        select {{ columns | join(", ") }}
                        from recomputed
                    ) as unexpected
                union all
                select 'known at that time' as found, *
                from
                    (
                        select {{ columns | join(", ") }}
                        from recomputed
                        except all
                        select *
                        from sampled
                    ) as expected
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}

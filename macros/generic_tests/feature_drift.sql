{# Warns of the features that were to be looked at in the newest period of a drift profile, fails with those to act on. What
   dbt counts is the level: 1 for look, 2 for act; so its own warn_if, error_if and severity say what is to happen. #}
{% test feature_drift(model) %}

    {{ config(fail_calc="coalesce(max(level), 0)", warn_if=">= 1", error_if=">= 2") }}

    with

        profile as (select *, max(period_start) over (partition by source_type, source) as newest from {{ model }}),

        validation_errors as (
            select
                source,
                feature,
                period_start,
                psi,
                look,
                act,
                verdict,
                case verdict when 'look' then 1 when 'act' then 2 end as level
            from profile
            where period_start = newest and verdict in ('look', 'act')
        )

    select *
    from validation_errors

{% endtest %}

-- one row per New York calendar day of the data that is over and published, which is six hours after its end
with

    flights as (select * from {{ ref("stg_bts__flights") }}),

    bounds as (select min(scheduled_departure_on) as first_day, max(scheduled_departure_on) as last_day from flights),

    days as (
        select bounds.first_day + numbers.n::integer as day
        from bounds
        cross join unnest(range(bounds.last_day - bounds.first_day + 1)) as numbers(n)
    ),

    ends as (select day, (day + 1)::timestamp at time zone 'America/New_York' as ended_at from days),

    final as (
        select day, ended_at, ended_at + interval '6 hours' as published_at
        from ends
        where ended_at + interval '6 hours' <= {{ feature_warehouse.current_instant() }}
    )

select *
from final

-- one row per route and New York midnight, from the day of its first arrival on
with

    days as (select * from {{ ref("int_days_completed") }}),

    flights as (select * from {{ ref("stg_bts__flights") }}),

    arrived_by_day as (
        select origin, dest, arrived_on as day, count(*) as flights, sum(arrival_delay_minutes) as delay_minutes
        from flights
        where arrived_on is not null
        group by origin, dest, arrived_on
    ),

    flown_by_day as (
        select arrived_by_day.*, days.ended_at, days.published_at, arrived_by_day.day >= days.day - 27 as is_recent
        from days
        inner join arrived_by_day on days.day >= arrived_by_day.day
    ),

    final as (
        select
            origin,
            dest,
            coalesce(sum(flights) filter (where is_recent), 0)::bigint as flights_28d,
            sum(delay_minutes) filter (where is_recent)::double
            / sum(flights) filter (where is_recent) as mean_arrival_delay_minutes_28d,
            max(day) as last_flown_on,
            ended_at as event_at,
            published_at as known_at
        from flown_by_day
        group by origin, dest, ended_at, published_at
    )

select *
from final

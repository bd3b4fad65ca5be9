-- one row per carrier and New York midnight; flights that arrived, on the day of their arrival, and flights that were
-- cancelled, as delayed, on the day of their scheduled departure
with

    carriers as (select * from {{ ref("stg_bts__carriers") }}),

    days as (select * from {{ ref("int_days_completed") }}),

    flights as (select * from {{ ref("stg_bts__flights") }}),

    outcomes as (
        select carrier, arrived_on as day, arrival_delay_minutes > 15 as is_delayed, false as is_cancelled
        from flights
        where arrived_on is not null
        union all
        select carrier, scheduled_departure_on as day, true as is_delayed, true as is_cancelled
        from flights
        where is_cancelled
    ),

    outcomes_by_day as (
        select
            carrier,
            day,
            count(*) as flights,
            count(*) filter (where is_delayed) as delayed_flights,
            count(*) filter (where is_cancelled) as cancelled_flights
        from outcomes
        group by carrier, day
    ),

    final as (
        select
            carriers.carrier,
            sum(outcomes_by_day.delayed_flights)::double / sum(outcomes_by_day.flights) as delay_rate_7d,
            coalesce(sum(outcomes_by_day.flights), 0)::bigint as flights_7d,
            coalesce(sum(outcomes_by_day.cancelled_flights), 0)::bigint as cancelled_flights_7d,
            days.ended_at as event_at,
            days.published_at as known_at
        from carriers
        cross join days
        left join
            outcomes_by_day
            on carriers.carrier = outcomes_by_day.carrier
            and outcomes_by_day.day between days.day - 6 and days.day
        group by carriers.carrier, days.ended_at, days.published_at
    )

select *
from final

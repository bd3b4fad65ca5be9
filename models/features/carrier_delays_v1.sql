-- one row per carrier and New York midnight; flights that arrived, on the day of their arrival
with

    carriers as (select * from {{ ref("stg_bts__carriers") }}),

    days as (select * from {{ ref("int_days_completed") }}),

    flights as (select * from {{ ref("stg_bts__flights") }}),

    arrived_by_day as (
        select
            carrier,
            arrived_on as day,
            count(*) as flights,
            count(*) filter (where arrival_delay_minutes > 15) as delayed_flights
        from flights
        where arrived_on is not null
        group by carrier, arrived_on
    ),

    final as (
        select
            carriers.carrier,
            sum(arrived_by_day.delayed_flights)::double / sum(arrived_by_day.flights) as delay_rate_7d,
            coalesce(sum(arrived_by_day.flights), 0)::bigint as flights_7d,
            days.ended_at as event_at,
            days.published_at as known_at
        from carriers
        cross join days
        left join
            arrived_by_day
            on carriers.carrier = arrived_by_day.carrier
            and arrived_by_day.day between days.day - 6 and days.day
        group by carriers.carrier, days.ended_at, days.published_at
    )

select *
from final

-- one row per origin and New York midnight
with

    days as (select * from {{ ref("int_days_completed") }}),

    flights as (select * from {{ ref("stg_bts__flights") }}),

    scheduled_by_hour as (
        select
            origin,
            scheduled_departure_on as day,
            extract(hour from scheduled_departure_at at time zone origin_time_zone) as hour,
            count(*) as flights
        from flights
        group by all
    ),

    origins as (select distinct origin from flights),

    last_28_days as (
        select
            origins.origin,
            hours.hour,
            days.ended_at,
            days.published_at,
            coalesce(sum(scheduled_by_hour.flights), 0) as flights
        from days
        cross join origins
        cross join range(24) as hours(hour)
        left join
            scheduled_by_hour
            on origins.origin = scheduled_by_hour.origin
            and hours.hour = scheduled_by_hour.hour
            and scheduled_by_hour.day between days.day - 27 and days.day
        group by origins.origin, hours.hour, days.ended_at, days.published_at
    ),

    shares as (
        select
            origin,
            hour,
            ended_at,
            published_at,
            flights::double / sum(flights) over (partition by origin, ended_at) as share
        from last_28_days
        -- an airport without any departure has no shares, rather than 24 NULLs
        qualify sum(flights) over (partition by origin, ended_at) > 0
    ),

    final as (
        select
            origin as airport,
            list(share order by hour) as departures_by_hour,
            ended_at as event_at,
            published_at as known_at
        from shares
        group by origin, ended_at, published_at
    )

select *
from final

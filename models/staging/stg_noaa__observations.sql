-- one row per airport and hour in which its station reported
with

    weather as (select * from {{ ref("raw_weather") }}),

    final as (
        select
            origin as airport,
            temp as temperature_f,
            humid as humidity_percent,
            -- the full year has one gross misreading: 1,048 mph
            case when wind_speed <= 250 then wind_speed end as wind_speed_mph,
            wind_gust as wind_gust_mph,
            visib as visibility_miles,
            precip::decimal(6, 2) as precipitation_inches,
            time_hour as hour_started_at,
            time_hour + interval '1 hour' as hour_ended_at
        from weather
    )

select *
from final

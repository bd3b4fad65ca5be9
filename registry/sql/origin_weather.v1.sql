-- What origin_weather.v1 means, as it was accepted. Written by `syncer register`: to be reviewed, not to be edited.

--- view origin_weather_v1
---   key airport varchar
---   event_timestamp event_at
---   available_at known_at
---   ttl_seconds 21600
---   feature temperature_f double
---   feature humidity_percent double
---   feature wind_speed_mph double
---   feature wind_gust_mph double
---   feature visibility_miles double
---   feature precipitation_inches decimal(6,2)
---   feature is_freezing boolean

--- beside the SQL
---   release ["", "dbt-core", "1.11"]
---   release ["", "dbt-duckdb", "1.11"]

--- model origin_weather_v1
---   reads stg_noaa__observations
-- one row per airport and hour in which its station reported
with
    observations as (select * from ref.stg_noaa__observations),
    final as (
        select
            airport,
            temperature_f,
            humidity_percent,
            wind_speed_mph,
            wind_gust_mph,
            visibility_miles,
            precipitation_inches,
            temperature_f <= 32 as is_freezing,
            hour_started_at as event_at,
            -- read late in the hour it is filed under
            hour_ended_at as known_at
        from observations
        where hour_ended_at <= coalesce(cast(getvariable('feature_warehouse_now') as timestamptz), cast('2000-01-01T00:00:00Z' as timestamp with time zone))
    )
select *
from final

--- model stg_noaa__observations
---   reads raw_weather
-- one row per airport and hour in which its station reported
with
    weather as (select * from ref.raw_weather),
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

--- seed raw_weather
---   column origin varchar
---   column time_hour timestamptz
---   column "temp" double
---   column humid double
---   column wind_speed double
---   column wind_gust double
---   column precip double
---   column visib double

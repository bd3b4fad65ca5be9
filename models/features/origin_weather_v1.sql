-- one row per airport and hour in which its station reported
with

    observations as (select * from {{ ref("stg_noaa__observations") }}),

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
        where hour_ended_at <= {{ feature_warehouse.current_instant() }}
    )

select *
from final

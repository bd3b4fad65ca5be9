-- one row per airport; facts that do not change within the data, taken as read on its first day
with

    airports as (select * from {{ ref("stg_openflights__airports") }}),

    final as (
        select
            airport,
            name,
            altitude_ft,
            latitude,
            longitude,
            time_zone,
            timestamptz '2013-01-01 00:00:00+00' as event_at,
            timestamptz '2013-01-01 00:00:00+00' as known_at
        from airports
    )

select *
from final

-- one row per registered plane; the registry keeps no history, so it is taken as read on the first day of the data
with

    planes as (select * from {{ ref("stg_faa__planes") }}),

    final as (
        select
            tailnum,
            manufacturer,
            model,
            aircraft_type,
            engine_type,
            engines,
            seats,
            manufactured_year,
            2013 - manufactured_year as age_years,
            timestamptz '2013-01-01 00:00:00+00' as event_at,
            timestamptz '2013-01-01 00:00:00+00' as known_at
        from planes
    )

select *
from final

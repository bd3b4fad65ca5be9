-- one row per airport that a flight uses; those without a name are missing in the source, only their time zone is known
with

    airports as (select * from {{ ref("raw_airports") }}),

    supplement as (select * from {{ ref("raw_airport_time_zones") }}),

    listed as (
        select faa as airport, name, alt::bigint as altitude_ft, lat as latitude, lon as longitude, tzone as time_zone
        from airports
    ),

    unlisted as (
        select
            faa as airport,
            null::varchar as name,
            null::bigint as altitude_ft,
            null::double as latitude,
            null::double as longitude,
            tzone as time_zone
        from supplement
        where faa not in (select faa from airports)
    ),

    final as (
        select *
        from listed
        union all
        select *
        from unlisted
    )

select *
from final

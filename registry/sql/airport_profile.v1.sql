-- What airport_profile.v1 means, as it was accepted. Written by `syncer register`: to be reviewed, not to be edited.

--- view airport_profile_v1
---   key airport varchar
---   event_timestamp event_at
---   available_at known_at
---   feature name varchar
---   feature altitude_ft bigint
---   feature latitude double
---   feature longitude double
---   feature time_zone varchar

--- beside the SQL
---   release ["", "dbt-core", "1.11"]
---   release ["", "dbt-duckdb", "1.11"]

--- model airport_profile_v1
---   reads stg_openflights__airports
-- one row per airport; facts that do not change within the data, taken as read on its first day
with
    airports as (select * from ref.stg_openflights__airports),
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

--- model stg_openflights__airports
---   reads raw_airport_time_zones
---   reads raw_airports
-- one row per airport that a flight uses; those without a name are missing in the source, only their time zone is known
with
    airports as (select * from ref.raw_airports),
    supplement as (select * from ref.raw_airport_time_zones),
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

--- seed raw_airport_time_zones
---   column faa varchar
---   column tzone varchar

--- seed raw_airports
---   column faa varchar
---   column name varchar
---   column lat double
---   column lon double
---   column alt integer
---   column tzone varchar

-- What plane_profile.v1 means, as it was accepted. Written by `syncer register`: to be reviewed, not to be edited.

--- view plane_profile_v1
---   key tailnum varchar
---   event_timestamp event_at
---   available_at known_at
---   feature manufacturer varchar
---   feature model varchar
---   feature aircraft_type varchar
---   feature engine_type varchar
---   feature engines bigint
---   feature seats bigint
---   feature manufactured_year bigint
---   feature age_years bigint

--- beside the SQL
---   release ["", "dbt-core", "1.11"]
---   release ["", "dbt-duckdb", "1.11"]

--- model plane_profile_v1
---   reads stg_faa__planes
-- one row per registered plane; the registry keeps no history, so it is taken as read on the first day of the data
with
    planes as (select * from ref.stg_faa__planes),
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

--- model stg_faa__planes
---   reads raw_planes
-- one row per registered tail number
with
    planes as (select * from ref.raw_planes),
    final as (
        select
            tailnum,
            manufacturer,
            model,
            type as aircraft_type,
            engine as engine_type,
            engines::bigint as engines,
            seats::bigint as seats,
            year::bigint as manufactured_year
        from planes
    )
select *
from final

--- seed raw_planes
---   column tailnum varchar
---   column year integer
---   column type varchar
---   column manufacturer varchar
---   column model varchar
---   column engines integer
---   column seats integer
---   column engine varchar

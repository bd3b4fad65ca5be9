-- one row per registered tail number
with

    planes as (select * from {{ ref("raw_planes") }}),

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

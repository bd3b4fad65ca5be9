-- one row per scheduled flight with a known outcome: the spine, asked at scheduled departure
with

    flights as (select * from {{ ref("stg_bts__flights") }}),

    final as (
        select
            flight_id,
            tailnum,
            carrier,
            origin,
            dest,
            distance_miles,
            scheduled_departure_at,
            arrival_delay_minutes > 15 as is_late
        from flights
        -- cancelled and diverted flights never arrive, and a flight in the air has no label yet
        where actual_arrival_at <= {{ feature_warehouse.current_instant() }}
    )

select *
from final

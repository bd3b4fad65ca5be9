-- two rows per arrival of a plane: at the arrival, and at the next New York midnight, when legs_flown_today becomes 0
with

    flights as (select * from {{ ref("stg_bts__flights") }}),

    arrivals as (
        select
            tailnum,
            arrived_on,
            actual_arrival_at,
            arrival_delay_minutes,
            count(*) over (partition by tailnum, arrived_on order by actual_arrival_at) as legs_flown_today
        from flights
        where tailnum is not null and actual_arrival_at <= {{ feature_warehouse.current_instant() }}
        -- a plane arrives at one place at a time; where the source says otherwise (once in 2013), one report is kept
        qualify row_number() over (partition by tailnum, actual_arrival_at order by flight_id desc) = 1
    ),

    at_arrival as (
        select
            tailnum,
            arrival_delay_minutes as last_arrival_delay_minutes,
            actual_arrival_at as last_arrived_at,
            legs_flown_today,
            actual_arrival_at as event_at,
            actual_arrival_at as known_at
        from arrivals
    ),

    -- Known as soon as the plane has arrived: from midnight on, the count is 0. Every arrival of the day writes this
    -- row anew instead of changing it; the last one counts.
    at_midnight as (
        select
            tailnum,
            arrival_delay_minutes as last_arrival_delay_minutes,
            actual_arrival_at as last_arrived_at,
            0::bigint as legs_flown_today,
            (arrived_on + 1)::timestamp at time zone 'America/New_York' as event_at,
            actual_arrival_at as known_at
        from arrivals
    ),

    final as (
        select *
        from at_arrival
        union all
        select *
        from at_midnight
    )

select *
from final

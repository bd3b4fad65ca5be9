-- From gate to gate a flight takes its air time and some minutes of taxiing: 5 to 235 in the full year of 2013. A wrong
-- zone shifts every flight to an airport by an hour or more, so the shortest taxi time of each is checked as well.
with

    flights as (select * from {{ ref("stg_bts__flights") }}),

    taxied as (
        select
            *,
            date_diff('minute', actual_departure_at, actual_arrival_at) - air_time_minutes as taxi_minutes,
            date_diff('minute', scheduled_departure_at, scheduled_arrival_at) as block_minutes
        from flights
    ),

    compared as (select *, min(taxi_minutes) over (partition by dest) as shortest_taxi_minutes from taxied),

    validation_errors as (
        select *
        from compared
        where
            taxi_minutes < 5
            or taxi_minutes > 240
            or shortest_taxi_minutes >= 60
            or block_minutes < 30
            or block_minutes > 720
    )

select *
from validation_errors

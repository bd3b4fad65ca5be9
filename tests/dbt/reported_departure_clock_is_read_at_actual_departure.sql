-- Scheduled departure plus delay must be the instant at which the origin's clock read what the source reports.
with

    flights as (select * from {{ ref("stg_bts__flights") }}),

    validation_errors as (
        select *
        from flights
        where
            not is_cancelled
            and strftime(actual_departure_at at time zone origin_time_zone, '%H%M')::integer
            is distinct from reported_departure_clock % 2400
    )

select *
from validation_errors

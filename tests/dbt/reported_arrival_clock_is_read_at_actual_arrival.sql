-- Scheduled arrival plus delay must be the instant at which the destination's clock read what the source reports.
-- January has no exception. The full year has one: a flight arrived in Florida at 03:03 on March 10, an hour after the
-- clocks had changed, and is reported at 02:03, which no clock showed that night.
with

    flights as (select * from {{ ref("stg_bts__flights") }}),

    validation_errors as (
        select *
        from flights
        where
            not is_cancelled
            and not is_diverted
            and flight_id <> '2013-03-09-B635-JFK'
            and strftime(actual_arrival_at at time zone dest_time_zone, '%H%M')::integer
            is distinct from reported_arrival_clock % 2400
    )

select *
from validation_errors

-- one row per scheduled flight: carrier, flight number, origin and the origin's calendar day
{{ config(materialized="table") }}  -- read by most features and by two dozen tests

with

    flights as (select * from {{ ref("raw_flights") }}),

    airports as (select * from {{ ref("stg_openflights__airports") }}),

    clocks as (
        select
            *,
            make_date(year, month, day) as scheduled_departure_on,
            -- hhmm as minutes; 24:00 ends the day of a departure, while an arrival's day is still to be found
            (sched_dep_time - 40 * floor(sched_dep_time / 100))::integer as departure_clock_minutes,
            (sched_arr_time % 2400 - 40 * floor(sched_arr_time % 2400 / 100))::integer as arrival_clock_minutes
        from flights
    ),

    departures as (
        select
            clocks.*,
            concat_ws('-', clocks.scheduled_departure_on, clocks.carrier || clocks.flight, clocks.origin) as flight_id,
            origins.time_zone as origin_time_zone,
            dests.time_zone as dest_time_zone,
            (clocks.scheduled_departure_on + to_minutes(clocks.departure_clock_minutes))
            at time zone origins.time_zone as scheduled_departure_at
        from clocks
        left join airports as origins on clocks.origin = origins.airport
        left join airports as dests on clocks.dest = dests.airport
    ),

    -- The instants at which the destination's clock may read the scheduled arrival: today or tomorrow there, and in the
    -- hour that a clock repeats in autumn also the first of its two passes (the database picks the second).
    arrival_candidates as (
        select
            departures.flight_id,
            departures.arrival_clock_minutes,
            departures.dest_time_zone,
            departures.scheduled_departure_at,
            (
                (departures.scheduled_departure_at at time zone departures.dest_time_zone)::date
                + days_later.n::integer
                + to_minutes(departures.arrival_clock_minutes)
            ) at time zone departures.dest_time_zone
            - to_hours(hours_earlier.n) as candidate_at
        from departures
        cross join range(2) as days_later(n)
        cross join range(2) as hours_earlier(n)
    ),

    scheduled_arrivals as (
        select flight_id, min(candidate_at) as scheduled_arrival_at
        from arrival_candidates
        where
            candidate_at > scheduled_departure_at
            and extract(hour from candidate_at at time zone dest_time_zone) * 60
            + extract(minute from candidate_at at time zone dest_time_zone)
            = arrival_clock_minutes
        group by flight_id
    ),

    instants as (
        select
            departures.*,
            scheduled_arrivals.scheduled_arrival_at,
            departures.scheduled_departure_at + to_minutes(departures.dep_delay) as actual_departure_at,
            -- no arr_delay: cancelled, or diverted and never arrived as planned
            scheduled_arrivals.scheduled_arrival_at + to_minutes(departures.arr_delay) as actual_arrival_at
        from departures
        left join scheduled_arrivals on departures.flight_id = scheduled_arrivals.flight_id
    ),

    final as (
        select
            flight_id,
            tailnum,
            carrier,
            flight::bigint as flight_number,
            origin,
            dest,
            origin_time_zone,
            dest_time_zone,
            distance::bigint as distance_miles,
            air_time::bigint as air_time_minutes,
            dep_delay::bigint as departure_delay_minutes,
            arr_delay::bigint as arrival_delay_minutes,
            dep_time as reported_departure_clock,
            arr_time as reported_arrival_clock,
            dep_time is null as is_cancelled,
            dep_time is not null and arr_delay is null as is_diverted,
            scheduled_departure_on,
            (actual_arrival_at at time zone 'America/New_York')::date as arrived_on,
            scheduled_departure_at,
            actual_departure_at,
            scheduled_arrival_at,
            actual_arrival_at
        from instants
    )

select *
from final

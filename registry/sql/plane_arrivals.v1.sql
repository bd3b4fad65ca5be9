-- What plane_arrivals.v1 means, as it was accepted. Written by `syncer register`: to be reviewed, not to be edited.

--- view plane_arrivals_v1
---   key tailnum varchar
---   event_timestamp event_at
---   available_at known_at
---   ttl_seconds 129600
---   feature last_arrival_delay_minutes bigint
---   feature last_arrived_at timestamptz
---   feature legs_flown_today bigint

--- beside the SQL
---   release ["", "dbt-core", "1.11"]
---   release ["", "dbt-duckdb", "1.11"]

--- model plane_arrivals_v1
---   reads stg_bts__flights
-- two rows per arrival of a plane: at the arrival, and at the next New York midnight, when legs_flown_today becomes 0
with
    flights as (select * from ref.stg_bts__flights),
    arrivals as (
        select
            tailnum,
            arrived_on,
            actual_arrival_at,
            arrival_delay_minutes,
            count(*) over (partition by tailnum, arrived_on order by actual_arrival_at) as legs_flown_today
        from flights
        where tailnum is not null and actual_arrival_at <= coalesce(cast(getvariable('feature_warehouse_now') as timestamptz), cast('2000-01-01T00:00:00Z' as timestamp with time zone))
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

--- model stg_bts__flights
---   reads raw_flights
---   reads stg_openflights__airports
-- one row per scheduled flight: carrier, flight number, origin and the origin's calendar day
  -- read by most features and by two dozen tests
with
    flights as (select * from ref.raw_flights),
    airports as (select * from ref.stg_openflights__airports),
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

--- seed raw_flights
---   column year integer
---   column month integer
---   column day integer
---   column dep_time integer
---   column sched_dep_time integer
---   column dep_delay integer
---   column arr_time integer
---   column sched_arr_time integer
---   column arr_delay integer
---   column carrier varchar
---   column flight integer
---   column tailnum varchar
---   column origin varchar
---   column dest varchar
---   column air_time integer
---   column distance integer

-- What carrier_delays.v1 means, as it was accepted. Written by `syncer register`: to be reviewed, not to be edited.

--- view carrier_delays_v1
---   key carrier varchar
---   event_timestamp event_at
---   available_at known_at
---   ttl_seconds 604800
---   feature delay_rate_7d double
---   feature flights_7d bigint

--- beside the SQL
---   release ["", "dbt-core", "1.11"]
---   release ["", "dbt-duckdb", "1.11"]

--- model carrier_delays_v1
---   reads int_days_completed
---   reads stg_bts__carriers
---   reads stg_bts__flights
-- one row per carrier and New York midnight; flights that arrived, on the day of their arrival
with
    carriers as (select * from ref.stg_bts__carriers),
    days as (select * from ref.int_days_completed),
    flights as (select * from ref.stg_bts__flights),
    arrived_by_day as (
        select
            carrier,
            arrived_on as day,
            count(*) as flights,
            count(*) filter (where arrival_delay_minutes > 15) as delayed_flights
        from flights
        where arrived_on is not null
        group by carrier, arrived_on
    ),
    final as (
        select
            carriers.carrier,
            sum(arrived_by_day.delayed_flights)::double / sum(arrived_by_day.flights) as delay_rate_7d,
            coalesce(sum(arrived_by_day.flights), 0)::bigint as flights_7d,
            days.ended_at as event_at,
            days.published_at as known_at
        from carriers
        cross join days
        left join
            arrived_by_day
            on carriers.carrier = arrived_by_day.carrier
            and arrived_by_day.day between days.day - 6 and days.day
        group by carriers.carrier, days.ended_at, days.published_at
    )
select *
from final

--- model int_days_completed
---   reads stg_bts__flights
-- one row per New York calendar day of the data that is over and published, which is six hours after its end
with
    flights as (select * from ref.stg_bts__flights),
    bounds as (select min(scheduled_departure_on) as first_day, max(scheduled_departure_on) as last_day from flights),
    days as (
        select bounds.first_day + numbers.n::integer as day
        from bounds
        cross join unnest(range(bounds.last_day - bounds.first_day + 1)) as numbers(n)
    ),
    ends as (select day, (day + 1)::timestamp at time zone 'America/New_York' as ended_at from days),
    final as (
        select day, ended_at, ended_at + interval '6 hours' as published_at
        from ends
        where ended_at + interval '6 hours' <= coalesce(cast(getvariable('feature_warehouse_now') as timestamptz), cast('2000-01-01T00:00:00Z' as timestamp with time zone))
    )
select *
from final

--- model stg_bts__carriers
---   reads raw_airlines
-- one row per airline
with
    airlines as (select * from ref.raw_airlines), final as (select carrier, name as carrier_name from airlines)
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

--- seed raw_airlines
---   column carrier varchar
---   column name varchar

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

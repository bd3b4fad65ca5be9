-- What origin_congestion.v1 means, as it was accepted. Written by `syncer register`: to be reviewed, not to be edited.

--- view origin_congestion_v1
---   key airport varchar
---   event_timestamp event_at
---   available_at known_at
---   ttl_seconds 7200
---   feature departures_last_hour bigint
---   feature mean_departure_delay_minutes_last_hour double

--- beside the SQL
---   release ["", "dbt-core", "1.11"]
---   release ["", "dbt-duckdb", "1.11"]

--- model origin_congestion_v1
---   reads stg_bts__flights
-- one row per origin and quarter of an hour, quiet ones too; the four after the last one say how the hour empties
/* rolling_features 1
{"available_at": "quarter_at", "event_timestamp": "quarter_at", "join_keys": ["airport"], "features": [
{"aggregate": "count", "column": "flight_id", "name": "departures_last_hour", "window": "60 minutes"},
{"aggregate": "avg", "column": "departure_delay_minutes", "name": "mean_departure_delay_minutes_last_hour", "window": "60 minutes"}
]} */
    with
     events as (
        select
             "airport",
            "quarter_at" as __event_time,
            "quarter_at" as __known_at,
            greatest("quarter_at", "quarter_at") as __counts_from
            , "flight_id" as __value_1 , "departure_delay_minutes" as __value_2
        from
    (
        with
            flights as (select * from ref.stg_bts__flights),
            bounds as (
                select
                    min(scheduled_departure_on)::timestamp at time zone 'America/New_York' as data_starts_at,
                    max(actual_departure_at) as data_ends_at
                from flights
            ),
            origins as (select distinct origin from flights),
            -- from the first full hour of the data on
            quarters as (
                select
                    unnest(
                        generate_series(data_starts_at + interval '60 minutes', data_ends_at, interval '15 minutes')
                    ) as quarter_at
                from bounds
            ),
            -- A departure belongs to the hour before each of the four quarters that follow it, its own instant included.
            -- Departures fall on whole minutes.
            departures as (
                select
                    origin,
                    time_bucket(interval '15 minutes', actual_departure_at + interval '14 minutes') as quarter_at,
                    departure_delay_minutes,
                    flight_id
                from flights
                where actual_departure_at is not null
            ),
            -- a quarter is an event without a flight: it counts for nothing, and has a row
            final as (
                select origin as airport, quarter_at, departure_delay_minutes, flight_id
                from departures
                union all
                select origins.origin as airport, quarters.quarter_at, null, null
                from quarters
                cross join origins
            )
        select *
        from final
        where quarter_at <= coalesce(cast(getvariable('feature_warehouse_now') as timestamptz), cast('2000-01-01T00:00:00Z' as timestamp with time zone))
    )
     where
         "airport" is not null and  "quarter_at" is not null
            and
    case
        when typeof("quarter_at") = 'TIMESTAMP WITH TIME ZONE'
        then true
        else error('rolling_features: the column quarter_at has no zone, so it names no instant. Convert it in a model before this one: quarter_at at time zone ''UTC'' (or the zone its clock stood in).')
    end
    ),
        -- what enters and what leaves
        steps as (
            select
                "airport",
                __counts_from as __at,
                __known_at
                    ,
                    case
                        when __counts_from < __event_time + interval '1 hours'
                        then case when __value_1 is not null then 1 end
                    end as __lane_1
                    ,
                    case
                        when __counts_from < __event_time + interval '1 hours'
                        then cast(trunc(__value_2) as hugeint)
                    end as __lane_2
                    ,
                    case
                        when __counts_from < __event_time + interval '1 hours'
                        then cast(cast(__value_2 - trunc(__value_2) as double) * pow(2, 100) as hugeint)
                    end as __lane_3
                    ,
                    case
                        when __counts_from < __event_time + interval '1 hours'
                        then case when __value_2 is not null then 1 end
                    end as __lane_4
            from events
                union all
                select
                    "airport",
                    __event_time + interval '1 hours' as __at,
                    __known_at
                        , -(case when __value_1 is not null then 1 end) as __lane_1
                        , -(cast(trunc(__value_2) as hugeint)) as __lane_2
                        , -(cast(cast(__value_2 - trunc(__value_2) as double) * pow(2, 100) as hugeint)) as __lane_3
                        , -(case when __value_2 is not null then 1 end) as __lane_4
                from events
                where __counts_from < __event_time + interval '1 hours'
        ),
        running as (
            select
                "airport",
                __at,
                __known_at,
                    coalesce(sum(__lane_1) over entity, 0) as __lane_1,
                    coalesce(sum(__lane_2) over entity, 0) as __lane_2,
                    coalesce(sum(__lane_3) over entity, 0) as __lane_3,
                    coalesce(sum(__lane_4) over entity, 0) as __lane_4,
                lead(__at) over entity as __next_at
            from steps
            window
                entity as (
                    partition by "airport"
                    order by __at, __known_at nulls first
                    rows between unbounded preceding and current row
                )
        ),
        -- the last step of each instant has seen them all, and has the newest availability
        points as (
            select
                * exclude (__next_at)
            from running
            where __next_at is null or __next_at > __at
        ),
        final as (
            select
                 points."airport",
                    cast(points.__lane_1 as bigint) as "departures_last_hour",
    case
        when abs(points.__lane_2) < 33554432 and abs(points.__lane_3) < cast(pow(2, 125) as hugeint)
        then cast(points.__lane_2 * cast(pow(2, 100) as hugeint) + points.__lane_3 as double) / pow(2, 100)
        else
            cast(points.__lane_2 + divide(points.__lane_3, cast(pow(2, 100) as hugeint)) as double)
            + cast(points.__lane_3 % cast(pow(2, 100) as hugeint) as double) / pow(2, 100)
    end
 / nullif(points.__lane_4, 0) as "mean_departure_delay_minutes_last_hour",
                points.__at as event_at,
                points.__known_at as known_at
            from points
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

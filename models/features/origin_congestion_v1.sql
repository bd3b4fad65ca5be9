-- one row per origin and quarter of an hour, quiet ones too
with

    flights as (select * from {{ ref("stg_bts__flights") }}),

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
    counted as (
        select
            flights.origin,
            time_bucket(interval '15 minutes', flights.actual_departure_at + interval '14 minutes')
            + to_minutes(15 * numbers.n) as quarter_at,
            flights.departure_delay_minutes
        from flights
        cross join range(4) as numbers(n)
        where flights.actual_departure_at is not null
    ),

    final as (
        select
            origins.origin as airport,
            count(counted.quarter_at) as departures_last_hour,
            sum(counted.departure_delay_minutes)::double
            / count(counted.quarter_at) as mean_departure_delay_minutes_last_hour,
            quarters.quarter_at as event_at,
            quarters.quarter_at as known_at
        from quarters
        cross join origins
        left join counted on origins.origin = counted.origin and quarters.quarter_at = counted.quarter_at
        where quarters.quarter_at <= {{ feature_warehouse.current_instant() }}
        group by origins.origin, quarters.quarter_at
    )

select *
from final

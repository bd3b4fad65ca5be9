-- one row per origin and quarter of an hour, quiet ones too; the four after the last one say how the hour empties
{% set departures_and_quarters %}
    (
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
        where quarter_at <= {{ feature_warehouse.current_instant() }}
    )
{% endset %}

{{ feature_warehouse.rolling_features(
    events=departures_and_quarters,
    join_keys=["airport"],
    event_timestamp="quarter_at",
    available_at="quarter_at",
    features=[
        {"name": "departures_last_hour", "aggregate": "count", "column": "flight_id", "window": "60 minutes"},
        {
            "name": "mean_departure_delay_minutes_last_hour",
            "aggregate": "avg",
            "column": "departure_delay_minutes",
            "window": "60 minutes",
        },
    ],
) }}

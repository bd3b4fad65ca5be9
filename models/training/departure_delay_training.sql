-- one row per row of the spine, with the features of departure_delay.v3 as known at scheduled departure
{{ config(post_hook="copy (select * from {{ this }}) to 'departure_delay.parquet' (format parquet)") }}
{{ feature_warehouse.point_in_time_join(
    spine=ref("departures"),
    spine_timestamp="scheduled_departure_at",
    feature_views=[
        ref("carrier_delays", v=2),
        ref("plane_profile", v=1),
        ref("plane_arrivals", v=1),
        ref("origin_weather", v=1),
        ref("origin_congestion", v=1),
        ref("route_history", v=1),
        ref("airport_departure_hours", v=1),
        ref("airport_profile", v=1),
    ],
    service="departure_delay.v3",
) }}

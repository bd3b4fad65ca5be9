{{ feature_warehouse.drift_reference(
    ref("origin_congestion", v=1), start="2013-01-01T00:00:00Z", end="2013-01-08T00:00:00Z"
) }}

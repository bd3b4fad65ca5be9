{{ feature_warehouse.drift_profile(
    ref("origin_weather", v=1), reference=ref("drift_reference_origin_weather_v1"), minimum_rows=50
) }}

{{ feature_warehouse.drift_profile(
    ref("origin_congestion", v=1), reference=ref("drift_reference_origin_congestion_v1")
) }}

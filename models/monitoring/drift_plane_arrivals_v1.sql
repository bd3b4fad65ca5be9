{{ feature_warehouse.drift_profile(
    ref("plane_arrivals", v=1), reference=ref("drift_reference_plane_arrivals_v1")
) }}

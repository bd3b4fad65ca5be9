{{ feature_warehouse.drift_profile(
    ref("departure_delay_training"),
    reference=ref("drift_reference_departure_delay_v3"),
    timestamp="scheduled_departure_at",
    service="departure_delay.v3",
) }}

{{ feature_warehouse.drift_reference(
    ref("accounts", v=1), start="2026-01-01T00:00:00Z", end="2026-01-05T00:00:00Z"
) }}

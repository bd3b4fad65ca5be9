{{ feature_warehouse.point_in_time_join(
    spine=ref("labels"),
    spine_timestamp="asked_at",
    feature_views=[{"view": ref("accounts", v=1), "features": ["balance", "recent"], "prefix": "known_"}],
    known_as_of="2026-01-05T00:00:00Z",
) }}

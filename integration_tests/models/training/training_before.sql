{{ feature_warehouse.point_in_time_join(
    spine=ref("labels"),
    spine_timestamp="asked_at",
    feature_views=[ref("accounts", v=1), {"view": ref("spending", v=1), "features": ["orders_3d", "last_amounts_7d"]}],
    allow_equal=false,
) }}

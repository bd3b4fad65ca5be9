{{ feature_warehouse.point_in_time_join(
    spine=ref("labels"),
    spine_timestamp="asked_at",
    feature_views=[ref("accounts", v=1), ref("regions", v=1), ref("spending", v=1)],
    service="checkout.v1",
) }}

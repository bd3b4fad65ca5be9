{{ feature_warehouse.feature_changes(
    feature_views=[ref("accounts", v=1), {"view": ref("regions", v=1), "features": ["tax"]}],
    start="2026-01-02T00:00:00Z",
    end="2026-01-16T00:00:00Z",
) }}

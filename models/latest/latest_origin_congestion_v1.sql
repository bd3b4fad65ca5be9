{{ feature_warehouse.latest_values(ref("origin_congestion", v=1)) }}

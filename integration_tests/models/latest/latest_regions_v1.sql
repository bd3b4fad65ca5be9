{{ feature_warehouse.latest_values(ref("regions", v=1)) }}

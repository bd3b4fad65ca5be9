{{ feature_warehouse.latest_values(ref("spending", v=1)) }}

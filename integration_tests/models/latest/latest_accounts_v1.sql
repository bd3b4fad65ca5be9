{{ feature_warehouse.latest_values(ref("accounts", v=1)) }}

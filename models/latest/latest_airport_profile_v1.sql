{{ feature_warehouse.latest_values(ref("airport_profile", v=1)) }}

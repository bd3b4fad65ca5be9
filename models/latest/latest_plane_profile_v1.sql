{{ feature_warehouse.latest_values(ref("plane_profile", v=1)) }}

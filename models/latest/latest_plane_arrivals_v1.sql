{{ feature_warehouse.latest_values(ref("plane_arrivals", v=1)) }}

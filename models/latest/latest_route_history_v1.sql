{{ feature_warehouse.latest_values(ref("route_history", v=1)) }}

{{ feature_warehouse.latest_values(ref("airport_departure_hours", v=1)) }}

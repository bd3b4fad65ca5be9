{{ feature_warehouse.latest_values(ref("origin_weather", v=1)) }}

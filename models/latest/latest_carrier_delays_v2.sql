{{ feature_warehouse.latest_values(ref("carrier_delays", v=2)) }}

{{ feature_warehouse.history_fingerprints(ref("accounts", v=1)) }}

{{ feature_warehouse.drift_profile(
    ref("accounts", v=1), reference=ref("drift_reference_accounts"), minimum_rows=1
) }}

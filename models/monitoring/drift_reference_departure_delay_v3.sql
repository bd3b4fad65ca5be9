-- windows of seven days are full from the second week on
{{ feature_warehouse.drift_reference(
    ref("departure_delay_training"),
    start="2013-01-08T00:00:00Z",
    end="2013-01-22T00:00:00Z",
    timestamp="scheduled_departure_at",
    service="departure_delay.v3",
) }}

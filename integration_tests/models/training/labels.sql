-- one row per label: at exact instants and a moment beside them, without a key, without a time, twice
select
    cast(label_id as integer) as label_id,
    cast(customer as varchar) as customer,
    cast(region as integer) as region,
    cast(ship_region as integer) as ship_region,
    cast(asked_at as timestamp with time zone) as asked_at
from
    (
        values
            (1, 'anna', 1, 2, '2026-01-01T06:00:00Z'),
            (2, 'anna', 1, 2, '2026-01-01T05:59:59.999999Z'),
            (3, 'anna', 1, 1, '2026-01-03T06:00:00Z'),
            (4, 'anna', 1, 1, '2026-01-04T00:00:00Z'),
            (5, 'anna', 1, null, '2026-01-06T12:00:00Z'),
            (6, 'anna', 1, 2, '2026-01-10T00:00:00Z'),
            (7, 'anna', 1, 2, '2026-01-09T23:00:00Z'),
            (8, 'anna', 2, 1, '2026-01-04T12:00:00Z'),
            (9, 'anna', 2, 1, '2026-01-05T00:00:00Z'),
            (10, 'anna', 2, 1, '2026-01-09T00:00:00Z'),
            (11, 'anna', 2, 1, '2026-01-19T00:00:00Z'),
            (12, 'anna', 2, 1, '2026-01-19T00:00:00.000001Z'),
            (13, 'bert', 1, 1, '2026-01-02T00:30:00Z'),
            (14, 'bert', 1, 1, '2026-01-02T01:00:00Z'),
            (15, 'bert', 1, 9, '2026-01-12T10:00:00Z'),
            (16, 'bert', null, 1, '2026-01-12T10:00:00Z'),
            (17, null, 1, 1, '2026-01-12T10:00:00Z'),
            (18, 'bert', 1, 1, null),
            (19, 'Anna', 1, 1, '2026-01-12T10:00:00Z'),
            (20, 'bert', 1, 1, '2026-01-05T01:00:00Z'),
            (20, 'bert', 1, 1, '2026-01-05T01:00:00Z')
    ) as written(label_id, customer, region, ship_region, asked_at)

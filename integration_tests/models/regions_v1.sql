-- one row per region and event time; a region is known when it is true
select
    cast(region as integer) as region,
    cast(tax as decimal(9, 2)) as tax,
    cast(label as varchar) as label,
    cast(event_at as timestamp with time zone) as event_at
from
    (
        values
            (1, 19.00, 'north', '2025-12-01T00:00:00Z'),
            (1, 7.50, 'north', '2026-01-05T00:00:00Z'),
            (2, 0.00, '', '2026-01-02T00:00:00Z'),
            (2, 0.01, null, '2026-01-03T00:00:00Z')
    ) as written(region, tax, label, event_at)

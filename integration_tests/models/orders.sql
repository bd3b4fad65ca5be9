-- one row per order: late, announced, at one instant, without a key
select
    cast(customer as varchar) as customer,
    cast(region as integer) as region,
    cast(ordered_at as timestamp with time zone) as ordered_at,
    cast(loaded_at as timestamp with time zone) as loaded_at,
    cast(amount as bigint) as amount,
    cast(price as decimal(18, 4)) as price,
    cast(weight as double precision) as weight,
    cast(channel as varchar) as channel
from
    (
        values
            ('anna', 1, '2026-01-01T09:00:00Z', '2026-01-01T09:00:00Z', 3, 10.5000, 0.25, 'web'),
            ('anna', 1, '2026-01-01T09:00:00Z', '2026-01-02T09:00:00Z', 4, 0.0001, 0.5, 'shop'),
            ('anna', 1, '2026-01-03T12:30:00Z', '2026-01-03T12:30:00Z', 9007199254740993, -7.2500, -0.25, 'web'),
            ('anna', 1, '2026-01-04T00:00:00Z', '2026-01-09T00:00:00Z', null, null, null, null),
            ('anna', 1, '2026-01-06T23:59:59.999999Z', '2026-01-07T00:00:00Z', -1, 99.9900, 1.75, 'it''s a fair'),
            ('anna', 2, '2026-01-02T00:00:00Z', '2026-01-02T00:00:00Z', 7, 1.0000, 8, 'web'),
            ('bert', 1, '2026-01-02T10:00:00Z', '2026-01-02T08:00:00Z', 5, 2.5000, 3, 'shop'),
            ('bert', 1, '2026-01-02T10:00:00Z', '2026-01-02T10:00:00Z', 5, 2.5000, 3, 'shop'),
            ('bert', 1, '2026-01-05T10:00:00Z', '2026-01-12T10:00:00Z', 6, 12345678901234.5678, 0.125, ''),
            (null, 1, '2026-01-02T10:00:00Z', '2026-01-02T10:00:00Z', 1, 1.0000, 1, 'web'),
            ('carl', null, '2026-01-02T10:00:00Z', '2026-01-02T10:00:00Z', 1, 1.0000, 1, 'web'),
            ('carl', 1, null, '2026-01-02T10:00:00Z', 1, 1.0000, 1, 'web'),
            ('carl', 1, '2026-01-02T10:00:00Z', null, 1, 1.0000, 1, 'web')
    ) as written(customer, region, ordered_at, loaded_at, amount, price, weight, channel)

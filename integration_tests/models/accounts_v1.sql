-- one row per customer, region, event time and availability: corrections, late facts, ties, deletions
select
    cast(customer as varchar) as customer,
    cast(region as integer) as region,
    cast(balance as bigint) as balance,
    cast(credit as decimal(18, 4)) as credit,
    cast(score as double precision) as score,
    recent,
    cast(opened_on as date) as opened_on,
    cast(is_member as boolean) as is_member,
    cast(event_at as timestamp with time zone) as event_at,
    cast(known_at as timestamp with time zone) as known_at,
    cast(is_deleted as boolean) as is_deleted
from
    (
        values
            ('anna', 1, 10, 1.5000, '0.1', cast(array[1, 2] as bigint[]), '2025-12-31', true, '2026-01-01T00:00:00Z', '2026-01-01T06:00:00Z', false),
            ('anna', 1, 11, 1.5001, '-0.0', cast(array[3] as bigint[]), '2025-12-31', true, '2026-01-01T00:00:00Z', '2026-01-03T06:00:00Z', null),
            ('anna', 1, 9007199254740993, -0.0001, 'NaN', cast(array[9007199254740993, null] as bigint[]), null, null, '2026-01-04T00:00:00Z', '2026-01-04T00:00:00Z', false),
            ('anna', 1, 13, 2.0000, '1e300', null, '2026-01-05', false, '2026-01-02T12:00:00Z', '2026-01-06T00:00:00Z', false),
            ('anna', 1, 14, 2.5000, '-1e-300', cast(array[5] as bigint[]), '2026-01-05', false, '2026-01-10T00:00:00Z', '2026-01-08T00:00:00Z', false),
            ('anna', 2, -1, null, null, cast(array[0] as bigint[]), '1969-12-31', true, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', false),
            ('anna', 2, null, null, null, null, null, null, '2026-01-05T00:00:00Z', '2026-01-05T00:00:00Z', true),
            ('anna', 2, 5, 5.0000, '5', cast(array[5, 5] as bigint[]), '2026-01-01', true, '2026-01-09T00:00:00Z', '2026-01-09T00:00:00.000001Z', false),
            ('bert', 1, -9223372036854775807, 0.0000, 'Infinity', cast(array[7] as bigint[]), '2026-01-01', false, '2026-01-02T00:00:00Z', '2026-01-02T00:00:00Z', false),
            ('bert', 1, 9223372036854775807, 1.0000, '-Infinity', cast(array[8] as bigint[]), '2026-01-01', false, '2026-01-02T00:00:00Z', '2026-01-02T01:00:00Z', false),
            (null, 1, 1, 1.0000, '1', cast(array[1] as bigint[]), '2026-01-01', true, '2026-01-02T00:00:00Z', '2026-01-02T00:00:00Z', false)
    ) as written(customer, region, balance, credit, score, recent, opened_on, is_member, event_at, known_at, is_deleted)

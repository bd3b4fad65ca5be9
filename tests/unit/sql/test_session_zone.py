"""What the session's time zone decides, against DuckDB: evaluated in four zones, does the value differ?"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.nodes import Node

COLUMNS = {"k": "varchar", "t": "timestamptz", "u": "timestamptz", "n": "timestamp", "d": "date"}
VIEW = View(node="v", join_keys={"k": ""}, event_timestamp="event_at", features={"f": ""})

#: Half an hour off, half an hour of summer time, and days on both sides of midnight.
ZONES = ("UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe")

EXPRESSIONS = """
t::date | t::timestamp | t::varchar | try_cast(t as date) | n::timestamptz | d::timestamptz | n::date | d::timestamp
timestamptz '2013-01-10' | timestamptz '2013-01-10 00:00:00+00' | t > '2013-01-10' | t > '2013-01-10T00:00:00Z'
t > timestamptz '2013-01-10 00:00:00 UTC' | t > timestamptz '2013-01-10 00:00:00 America/New_York' | t > 'infinity'
t > d | t <= n | t = d | t between n and n | t in (n) | t - n | t - u | nullif(t, n) | nullif(t, u)
t + interval '1 day' | t - interval '7 days' | t + to_days(3) | t + interval '24 hours' | t - 2 * interval '1 day'
t + interval '1 month' | t + to_minutes(30) | n + interval '1 day' | n - interval '7 days' | epoch(t - u) | n - n
d - 6 | d - d
count(*) over (order by t range between interval '6 days' preceding and current row)
count(*) over (order by t range between interval '144 hours' preceding and current row)
count(*) over (order by n range between interval '6 days' preceding and current row)
coalesce(t, n) | coalesce(t, u) | case when k = 'a' then t else n end | greatest(t, n) | least(t, d) | least(t, u)
hour(t) | minute(t) | second(t) | year(t) | week(t) | quarter(t) | day(t) | dayofweek(t) | isodow(t) | dayname(t)
monthname(t) | last_day(t) | yearweek(t) | julian(t) | timezone_hour(t) | millisecond(t) | extract(epoch from t)
epoch(t) | epoch_ms(t) | date_part('doy', t) | date_part('epoch', t) | date_part('seconds', t) | hour(n) | epoch(n)
date_trunc('day', t) | date_trunc('hour', t) | date_trunc('minute', t) | date_trunc('day', n) | date_trunc('day', d)
date_diff('day', t, u) | date_diff('hour', t, u) | date_diff('minute', t, u) | date_diff('day', n, n)
date_sub('day', t, u) | date_sub('month', t, u) | date_sub('hour', t, u) | age(t, u) | strftime(t, '%d')
strftime(n, '%d')
time_bucket(interval '1 day', t) | time_bucket(interval '15 minutes', t) | max(t) over () | lag(t) over (order by u)
k || t | k || n | concat(k, t) | concat_ws('-', k, t) | t + interval '1 hour' | (t + interval '1 hour')::date
make_timestamptz(2013, 1, 1, 0, 0, 0.0) | make_timestamptz(2013, 1, 1, 0, 0, 0.0, 'UTC') | n at time zone 'UTC'
(t at time zone 'UTC')::date | hour(t at time zone 'UTC') | t > n at time zone 'UTC'
(d + 1)::timestamp at time zone 'UTC'
date_trunc('day', t at time zone 'America/New_York') at time zone 'America/New_York' | t is null | k = 'a' | t = u
"""


@pytest.fixture(scope="module")
def rows() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        first = "timestamptz '2013-01-01 00:00:00+00'"
        connection.execute(
            "create table rows as select case when i % 2 = 0 then 'a' else 'b' end as k, "
            f"case when i % 7 > 0 then {first} + to_minutes((30 * (i * 37 % 17520))::integer) end as t, "
            f"{first} + to_seconds((i * i * 977 % 20000000)::integer) as u, "
            "case when i % 3 > 0 then timestamp '2013-01-01' + to_minutes((30 * (i * 37 % 17520))::integer) end as n, "
            "(timestamp '2013-01-01' + to_minutes((30 * (i * 37 % 17520))::integer))::date as d "
            "from range(5000) as r(i)"
        )
        yield connection


@pytest.mark.parametrize(
    "expression", [one.strip() for line in EXPRESSIONS.strip().splitlines() for one in line.split(" | ")]
)
def test_found_where_duckdb_gives_another_value_in_another_zone(rows, expression) -> None:
    found = set()
    for zone in ZONES:
        rows.execute(f"set TimeZone = '{zone}'")
        found.add(rows.execute(f"select sum(hash(x)::hugeint) from (select {expression} as x from rows)").fetchone())
    view = Node(sql=f"select k, t as event_at, {expression} as f from rows")
    definitions = Definitions({"rows": Node(columns=COLUMNS, closed=True), "v": view})
    told = definitions.facts(VIEW, "f").session_zone
    assert definitions.reader.as_text == {}
    assert bool(told) == (len(found) > 1), told

"""Which queries have one answer everywhere."""

from __future__ import annotations

import pytest

from feature_warehouse.sql.constants import is_constant


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 + 1 as two, 'x' as name",
        "select datediff('day', cast('2020-01-01' as date), cast('2020-03-01' as date))",
        "\n  select date_diff('month', '2020-01-01'::timestamp, '2021-01-01'::timestamp)\n",
        "with days as (select date '2020-01-01' as day) select day from days",
        "select name from (values ('a'), ('b')) listed(name) order by name",
        "select * from range(3)",
        "select unnest([1, 2])",
    ],
)
def test_what_reads_nothing(sql: str) -> None:
    assert is_constant(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select max(x) from t",
        "select count(*) from t",
        "from t",
        "select (select count(*) from t)",
        "select 1 where exists (select 1 from main.t)",
        "with a as (select 1 as x) select x from a union all select x from b",
        "select table_name from information_schema.tables",
        "select * from duckdb_tables()",
        "select * from read_csv('x.csv')",
        "select * from 'x.csv'",
        "select * from query_table('t')",
        "select current_date",
        "select date_diff('day', date '2020-01-01', current_date)",
        "select 'now'::timestamptz",
        "select '2020-01-01 00:00'::timestamptz",
        "select random()",
        "select nextval('s')",
        "select getvariable('x')",
        "select current_setting('threads')",
        "select version()",
        "select getenv('HOME')",
        "select somebodys(1)",
        "create table t as select 1",
        "select 1; drop table t",
        "select",
        "",
    ],
)
def test_what_does_not(sql: str) -> None:
    assert not is_constant(sql)

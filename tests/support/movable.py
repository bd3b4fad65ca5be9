"""A shop in SQL that any warehouse reads: its profile alone says where it is built.

Its rows are those that one warehouse might read otherwise than another: late facts, revisions of one event, expired and
deleted ones, NULLs, the edges of numbers, lists, texts of any sign.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.shop import CLOCK, Shop, latest

#: Types by names that DuckDB and PostgreSQL both know.
ORDERS = {
    "customer_id": "bigint",
    "event_at": "timestamptz",
    "known_at": "timestamptz",
    "is_deleted": "boolean",
    "small": "smallint",
    "whole": "integer",
    "large": "bigint",
    "ratio": "double precision",
    "rough": "real",
    "spent": "decimal(12,2)",
    "exact": "decimal(38,10)",
    "plan": "varchar",
    "active": "boolean",
    "since": "date",
    "seen_at": "timestamptz",
    "device": "uuid",
    "basket": "double precision[]",
    "clicks": "bigint[]",
}

STOCK = {
    "warehouse": "varchar",
    "sku": "varchar",
    "day": "date",
    "event_at": "timestamptz",
    "in_stock": "integer",
}

_NULLS = dict.fromkeys(list(ORDERS)[4:])

_ORDER_ROWS: list[dict[str, Any]] = [
    # Two facts; of the newer one a revision, and one more that is not known yet.
    {"customer_id": 1, "event_at": "01-01 08:00", "known_at": "01-01 09:00", **_NULLS, "whole": 1},
    {"customer_id": 1, "event_at": "01-05 08:00", "known_at": "01-05 09:00", **_NULLS, "whole": 2},
    {
        **{"customer_id": 1, "event_at": "01-05 08:00", "known_at": "01-06 09:00"},
        **{"small": -32768, "whole": -(2**31), "large": 2**53 + 1, "ratio": "-0.0", "rough": "0.1", "spent": "-12.5"},
        **{"exact": "-12345678901234567890.0000000001", "plan": "Zürich|a'b\\", "active": True, "since": "0001-01-01"},
        **{"seen_at": "9999-12-31 23:59:59.999999", "device": "0F8FAD5B-D9CB-469F-A165-70867728950E"},
        **{"basket": ["1.5", "-0.0", "NaN"], "clicks": [2**53 + 1, -(2**63)]},
    },
    {"customer_id": 1, "event_at": "01-05 08:00", "known_at": "01-20 09:00", **_NULLS, "whole": 4},
    # A late fact: it happened before, and is known later, than the one that counts.
    {"customer_id": 2, "event_at": "01-08 08:00", "known_at": "01-08 09:00", **_NULLS, "basket": [], "clicks": []},
    {"customer_id": 2, "event_at": "01-07 08:00", "known_at": "01-09 09:00", **_NULLS, "whole": 6},
    # Expired, deleted, and deleted but back again.
    {"customer_id": 3, "event_at": "2025-12-01 00:00", "known_at": "2025-12-01 00:00", **_NULLS, "whole": 7},
    {"customer_id": 4, "event_at": "01-02 00:00", "known_at": "01-02 00:00", **_NULLS, "whole": 8},
    {"customer_id": 4, "event_at": "01-03 00:00", "known_at": "01-03 00:00", "is_deleted": True, **_NULLS},
    {"customer_id": 5, "event_at": "01-02 00:00", "known_at": "01-02 00:00", "is_deleted": True, **_NULLS},
    {"customer_id": 5, "event_at": "01-03 00:00", "known_at": "01-03 00:00", **_NULLS, "ratio": "NaN", "rough": "inf"},
    {"customer_id": 2**53 + 1, "event_at": "01-09 00:00", "known_at": "01-09 00:00", **_NULLS, "ratio": "-inf"},
    {"customer_id": None, "event_at": "01-09 00:00", "known_at": "01-09 00:00", **_NULLS},
]

_STOCK_ROWS: list[dict[str, Any]] = [
    {"warehouse": "north", "sku": "A|1", "day": "2026-01-08", "event_at": "01-08 08:00", "in_stock": 40},
    {"warehouse": "north", "sku": "A|1", "day": "2026-01-08", "event_at": "01-09 08:00", "in_stock": 0},
    {"warehouse": "Zürich", "sku": "", "day": "2026-01-08", "event_at": "01-09 09:00", "in_stock": None},
]


def _literal(value: Any, type_: str) -> str:
    if isinstance(value, list):
        text = f"array[{', '.join(_literal(each, type_[:-2]) for each in value)}]"
    elif value is None or isinstance(value, (bool, int)):
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else f"'{value}'"
    else:
        text = value.replace("'", "''")
        if type_ == "timestamptz":
            seconds = "" if text.count(":") == 2 else ":00"  # DuckDB before 2.0 wants them
            text = f"{text if text[:4].isdigit() else f'2026-{text}'}{seconds}+00"
        text = f"'{text}'"
    return f"cast({text} as {type_})"


def _table(types: dict[str, str], rows: list[dict[str, Any]]) -> str:
    def select(row: dict[str, Any]) -> Iterator[str]:
        for name, type_ in types.items():
            yield f"{_literal(row.get(name), type_)} as {name}"

    return "\nunion all\n".join(f"select {', '.join(select(row))}" for row in rows) + "\n"


def _view(name: str, types: dict[str, str], **declared: Any) -> str:
    model = {
        "name": name,
        "config": {"materialized": "table", "contract": {"enforced": True}, "meta": {"feature_view": declared}},
        "columns": [{"name": column, "data_type": type_} for column, type_ in types.items()],
        "versions": [{"v": 1}],
    }
    return json.dumps({"models": [model]})


def _service(name: str, views: dict[str, list[str]], **more: Any) -> str:
    service = {"name": name, "version": 1, "features": [{"view": f"{v}.v1", "features": f} for v, f in views.items()]}
    exposure = {
        "name": f"{name}_v1",
        "type": "ml",
        "owner": {"name": "Growth", "email": "growth@example.com"},
        "depends_on": [f"ref('{view}', v=1)" for view in views],
        "config": {"meta": {"feature_service": service | more}},
    }
    return json.dumps({"exposures": [exposure]})


FILES = {
    "models/orders_v1.sql": _table(ORDERS, _ORDER_ROWS),
    "models/stock_v1.sql": _table(STOCK, _STOCK_ROWS),
    "models/orders.yml": _view(
        "orders",
        ORDERS,
        entity="customer",
        join_keys=["customer_id"],
        event_timestamp="event_at",
        available_at="known_at",
        deleted="is_deleted",
        ttl="30 days",
    ),
    "models/stock.yml": _view(
        "stock",
        STOCK,
        entity="item",
        join_keys=["warehouse", "sku", "day"],
        event_timestamp="event_at",
        available_at="none",
    ),
    "models/churn.yml": _service(
        "churn",
        {"orders": list(ORDERS)[4:]},
        request={"amount": "double"},
        on_demand=[{"name": "share", "data_type": "double", "expression": "amount / spent"}],
    ),
    "models/transfer.yml": _service("transfer", {"stock": ["in_stock"]}),
    **latest("orders"),
    **latest("stock"),
}


def build(folder: Path) -> Shop:
    """The shop in DuckDB, built and registered."""
    shop = Shop(folder, FILES, more=CLOCK)
    shop.dbt("run")
    shop.syncer("register")
    return shop


def move(shop: Shop, folder: Path, output: dict[str, Any]) -> Shop:
    """A copy of the shop whose profile names another warehouse, and nothing else is another one; built there."""
    shutil.copytree(shop.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("target", "logs", "*.duckdb"))
    moved = shop.at(folder, shop.redis_url)
    moved.write("profiles.yml", json.dumps({"shop": {"target": "dev", "outputs": {"dev": output}}}))
    moved.dbt("run")
    return moved

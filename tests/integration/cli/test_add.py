"""`syncer add view`: from a model to a value in Redis without writing a file by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.results import assert_refused
from tests.support.shop import Shop

STG = """
select
    *
from
    (
        values
            ('anna', 129.90::decimal(9, 2), 3, {'a': 1}, '2025-03-01'::timestamp, '2025-03-01 09:05Z'::timestamptz),
            ('ben', 20.00, 1, null, '2025-03-01 11:00:00', '2025-03-01 10:05:00Z'),
            ('anna', 15.50, 1, null, '2025-03-02 19:00:00', '2025-03-04 06:00:00Z')
    ) as orders(customer_id, amount_eur, items, remarks, ordered_at, loaded_at)
"""

VAGUE = "select 1 as a_id, 2 as b_id, now() as seen_at, now() as counted_at, 0.5 as rate"
TWICE = "select 1 as a_id, timestamptz '2025-01-01 00:00:00Z' as at, 2 as n from range(3)"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("empty")
    models = {"stg_orders": STG, "vague": VAGUE, "twice": TWICE}
    shop = Shop(folder, {f"models/{name}.sql": sql for name, sql in models.items()})
    shop.dbt("build")
    return shop


@pytest.fixture
def shop(built: Shop, tmp_path: Path, redis_url: str) -> Shop:
    return built.copied(tmp_path / "shop", redis_url)


ADDED = ("add", "view", "customer_orders", "--from", "stg_orders", "--time-zone", "Europe/Berlin")


def test_a_view_and_its_service_are_served_as_written(shop: Shop) -> None:
    said = shop.try_syncer(*ADDED, "--service", "next_order", "--owner", "Ada <ada@example.com>")
    assert said.exit_code == 0, said.output
    assert [line.removeprefix("Written: ").rpartition("models/")[2] for line in said.stdout.splitlines()] == [
        "features/customer_orders_v1.sql",
        "features/customer_orders.yml",
        "latest/latest_customer_orders_v1.sql",
        "services/next_order_v1.yml",
    ]
    assert "Entity customer by customer_id; true from ordered_at, known from loaded_at." in said.stderr
    assert "read as Europe/Berlin: ordered_at at time zone 'Europe/Berlin'" in said.stderr
    assert "Left out: remarks: type 'struct" in said.stderr
    shop.dbt("build")
    shop.syncer("register")
    shop.syncer("sync")
    assert shop.syncer("get", "next_order", "customer_id=anna").splitlines()[1:] == [
        "  amount_eur  15.50",
        "  items       1",
    ]
    again = shop.try_syncer(
        "add", "view", "x", "--from", "stg_orders", "--service", "next_order", "--owner", "A <a@b.c>"
    )
    assert_refused(again, "the project has a service 'next_order' already", "leave --service out")
    latest = shop.sql(
        "select event_at = '2025-03-02 18:00:00Z' from latest_customer_orders_v1 where customer_id = 'anna'"
    )
    assert latest == [(True,)]


def test_files_that_are_there_stay_as_they_are(shop: Shop) -> None:
    shop.syncer(*ADDED)
    yaml = shop.folder / "models" / "features" / "customer_orders.yml"
    yaml.write_text("# mine\n")
    (shop.folder / "models" / "features" / "customer_orders_v1.sql").unlink()
    assert_refused(
        shop.try_syncer(*ADDED), "customer_orders.yml is there already, so nothing was written", "another name"
    )
    assert yaml.read_text() == "# mine\n"
    assert not (shop.folder / "models" / "features" / "customer_orders_v1.sql").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("x", "--from", "nothing"), "there is no model 'nothing'", "models: "),
        (("vague", "--from", "stg_orders"), "has a model called 'vague' already", "name the feature view otherwise"),
        (("X", "--from", "stg_orders"), "the feature view's name is 'X'", "lower-case letters"),
        (("x", "--from", "vague"), "which column of vague says when a row could first be read", "seen_at, counted_at"),
        (
            ("x", "--from", "vague", "--available-at", "none"),
            "which column of vague says when its values became true",
            "--event-timestamp, one of seen_at, counted_at",
        ),
        (
            ("x", "--from", "vague", "--available-at", "none", "--event-timestamp", "seen_at"),
            "which columns of vague tell entities apart",
            "--join-key, once for each, of a_id, b_id, counted_at, rate",
        ),
        (("x", "--from", "stg_orders", "--join-key", "customer"), "has no column 'customer'", "'customer_id'?"),
        (("x", "--from", "stg_orders", "--feature", "remarks"), "'remarks' can be no feature", "cast or rename"),
        (("x", "--from", "stg_orders", "--time-zone", "x'; drop"), "is no time zone", "Europe/Berlin"),
        (
            ("x", "--from", "vague", "--available-at", "rate", "--event-timestamp", "seen_at"),
            "'rate' is decimal(2,1), and no time",
            "seen_at, counted_at",
        ),
        (("x", "--from", "stg_orders", "--join-key", "amount_eur"), "'amount_eur' can be no join key", "cast it"),
    ],
)
def test_what_it_cannot_know_it_asks_for(shop: Shop, arguments: tuple[str, ...], message: str, hint: str) -> None:
    assert_refused(shop.try_syncer("add", "view", *arguments), message, hint)
    assert not (shop.folder / "models" / "features").exists()


def test_rows_that_no_history_may_have_are_told_of(shop: Shop) -> None:
    said = shop.try_syncer("add", "view", "x", "--from", "twice", "--available-at", "none")
    assert said.exit_code == 0, said.output
    assert "Warning: 2 rows of twice with the a_id and at of another" in said.stderr
    assert "known from at once (available_at: none)" in said.stderr

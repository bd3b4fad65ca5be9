"""A command or a read that asks for what is not there: one sentence, one hint, exit code 1, or 2 for wrong usage."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from feature_warehouse import FeatureClient
from feature_warehouse.errors import RequestError
from tests.support.results import assert_refused
from tests.support.shop import Shop


@pytest.mark.parametrize("command", ["sync", "verify"])
def test_a_selection_without_a_served_view(command: str, shop: Shop) -> None:
    refused = shop.try_syncer(command, "--select", "bakery")
    message = "--select bakery selects no feature view that a service reads"
    assert_refused(refused, message, "served: orders.v1, stock.v1, visits.v1")


def test_a_selection_that_dbt_cannot_read_is_refused_in_its_words(shop: Shop) -> None:
    assert_refused(
        shop.try_syncer("sync", "--select", "state:modified"),
        "dbt cannot read the selection: Got a state selector",
        "`dbt ls --select state:modified`",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sync", "--as-of", "2026-01-10T00:00:00"], "'2026-01-10T00:00:00' names no instant"),
        (["verify", "--as-of", "yesterday"], "write date, time and zone: 2013-02-01T00:00:00Z"),
        (["get", "churn", "customer_id"], "'customer_id' is no KEY=VALUE"),
        (["get", "churn", "=1"], "'=1' is no KEY=VALUE"),
        (["get"], "Missing argument 'SERVICE'"),
        (["sync", "--frobnicate"], "No such option"),
        (["frobnicate"], "No such command"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], words: str, shop: Shop) -> None:
    result = shop.try_syncer(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in " ".join(result.stderr.split())
    assert "syncer" in result.stderr  # the usage, and where help is


def test_a_parquet_file_is_not_called_csv(shop: Shop) -> None:
    refused = shop.try_syncer("batch", "churn@1", "-o", "scores.csv")
    assert_refused(refused, "what is written is Parquet, and scores.csv is named as CSV", "ends in .parquet")


@pytest.mark.parametrize(
    ("request_", "message", "hint"),
    [
        ("chrun customer_id=1", "there is no feature service 'chrun'", "did you mean 'churn@"),
        ("churn@9 customer_id=1", "there is no feature service 'churn@9'", "did you mean 'churn@"),
        ("bakery customer_id=1", "there is no feature service 'bakery'", "there are: churn@1, churn@2, transfer@1"),
        ("churn", "churn@2, row 0: 'customer_id' is missing (it finds visits.v1)", "give customer_id"),
        ("churn customer_id=1", "churn@2, row 0: the request value 'amount' is missing", "give amount (double)"),
        ("churn customer_id=1 amount=lots", "churn@2, row 0: 'amount': 'lots' (str) is not a number", "give a float"),
        ("transfer source=north sku=A-1", "transfer@1, row 0: 'target' is missing", "give source, sku, target"),
        (
            "churn customer_id=one",
            "churn@2, row 0: join key 'customer_id' of entity 'customer': 'one' (str) is not an integer",
            "a whole number",
        ),
        ("churn customer_id=1.0", "'1.0' (str) is not an integer", "1, not 1.0"),
        ("churn customer_id=", "'' (str) is not an integer", "a whole number"),
        (
            "churn customer_id=99999999999999999999",
            "is not between -9223372036854775808 and 9223372036854775807",
            "type",
        ),
    ],
)
def test_a_read_that_cannot_be(request_: str, message: str, hint: str, shop: Shop) -> None:
    shop.syncer("sync")
    assert_refused(shop.try_syncer("get", *request_.split()), message, hint)


def test_an_unknown_entity_is_no_error(shop: Shop) -> None:
    shop.syncer("sync")
    found = shop.json("get", "churn@1", "customer_id=404")
    assert found["features"] == {"orders_30d": None, "plan": None, "visits_7d": None}
    assert set(found["statuses"].values()) == {"missing"}


def test_a_python_caller_is_told_of_a_naive_now_and_a_wrong_namespace() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        FeatureClient("redis://localhost", "shop_dev", as_of=datetime(2026, 1, 10))
    with pytest.raises(RequestError, match="cannot be a namespace"):
        FeatureClient("redis://localhost", "Shop", as_of=datetime(2026, 1, 10, tzinfo=timezone.utc))


def test_before_the_first_sync_there_is_nothing_to_read(shop: Shop) -> None:
    refused = shop.try_syncer("get", "churn@1", "customer_id=1")
    assert_refused(refused, "nothing was ever published in the namespace 'shop_dev' of 127.0.0.1:", "run `syncer sync`")


def test_a_view_that_was_never_synced_is_an_error_and_no_null(shop: Shop) -> None:
    shop.syncer("sync", "--select", "stock")
    refused = shop.try_syncer("get", "churn@1", "customer_id=1")
    assert_refused(refused, "churn@1: orders.v1 was never completely synced into 'shop_dev'", "run `syncer sync`")
    shop.syncer("get", "transfer", "source=north", "target=south", "sku=A-1")


def test_a_service_that_is_being_extended_goes_on_answering(shop: Shop) -> None:
    shop.replace(
        "models/stock.yml",
        "- {name: counted_on, data_type: date}",
        "- {name: counted_on, data_type: date}\n      - {name: shelf, data_type: varchar}",
    )
    shop.replace("models/stock_v1.sql", "as in_stock,", "as in_stock, 'left' as shelf,")
    shop.dbt("run", "--select", "stock", "latest_stock_v1")
    shop.syncer("sync")
    shop.replace("models/transfer.yml", "[in_stock, counted_on]", "[in_stock, counted_on, shelf]")
    shop.dbt("parse")
    assert "stock.v1: shelf is served as field 4" in shop.syncer("register")
    read = ["get", "transfer", "source=north", "target=south", "sku=A-1"]
    before = shop.json(*read)
    shop.syncer("sync", "--select", "orders")  # sends nothing of stock, so readers are not shown the new registry yet
    assert shop.json(*read) == before
    shop.syncer("sync", "--select", "stock")
    assert shop.json(*read)["features"]["target_shelf"] == "left"

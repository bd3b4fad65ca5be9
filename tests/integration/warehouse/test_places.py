"""The ways in which dbt-duckdb stores things: each is read, or said by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from feature_warehouse.errors import WarehouseError, WarehouseLockedError
from feature_warehouse.project.dbt import read_target
from feature_warehouse.project.profile import Output
from feature_warehouse.warehouse.duckdb import open_warehouse


def output(folder: Path, **profile: Any) -> Output:
    """What dbt reads of such a profile."""
    folder.mkdir(exist_ok=True)
    (folder / "dbt_project.yml").write_text(json.dumps({"name": "shop", "version": "1.0", "profile": "shop"}))
    outputs = {"dev": {"type": "duckdb", **profile}}
    (folder / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": outputs}}))
    return read_target(folder, folder, None).output


def table(path: Path, rows: str = "select 7 as a") -> str:
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create table t as {rows}")
    return str(path)


def read(place: Output, relation: str) -> list[Any]:
    with open_warehouse(place) as warehouse:
        return [row for batch in warehouse.batches(f"select * from {relation}") for row in batch.to_pylist()]


def test_what_is_attached_is_read_and_never_written(tmp_path: Path) -> None:
    own, other = table(tmp_path / "own.duckdb"), table(tmp_path / "it's.duckdb", "select 8 as a")
    place = output(tmp_path / "p", path=own, attach=[{"path": other, "alias": "lake"}])
    assert read(place, "lake.main.t") == [{"a": 8}]
    with open_warehouse(place, writable=True) as warehouse:
        warehouse.write("insert into main.t select 9")
        with pytest.raises(WarehouseError, match="read-only"):
            warehouse.write("insert into lake.main.t select 9")


def test_a_view_over_an_attached_file_and_one_in_it(tmp_path: Path) -> None:
    own, other = table(tmp_path / "own.duckdb"), table(tmp_path / "lake.duckdb", "select 8 as a")
    with duckdb.connect(own) as connection:
        connection.execute(f"attach '{other}' as lake")
        connection.execute("create view over_it as select * from lake.main.t")
        connection.execute("create view lake.main.in_it as select * from lake.main.t")
    place = output(tmp_path / "p", path=own, attach=[{"path": other}])
    assert read(place, "own.main.over_it") == read(place, "lake.main.in_it") == [{"a": 8}]


def test_all_may_be_attached_to_a_database_in_memory(tmp_path: Path) -> None:
    other = table(tmp_path / "lake.duckdb")
    place = output(tmp_path / "p", path=":memory:", attach=[{"path": other}])
    assert read(place, "lake.main.t") == [{"a": 7}]
    with pytest.raises(WarehouseError, match="in memory, where nothing is kept"), open_warehouse(place, writable=True):
        pass


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"path": ":memory:"}, "is in memory, so only dbt can see it"),
        ({"path": "md:shop"}, "the profile's path is 'md:shop', and the syncer opens files alone"),
        ({"attach": [{"path": "gone/lake.duckdb"}]}, "what the profile attaches cannot be attached: Cannot open"),
        ({"attach": [{"path": "lake.db", "type": "nonesuch"}]}, "what the profile attaches cannot be attached"),
        ({"extensions": ["nonesuch"]}, "the profile's extension 'nonesuch' cannot be loaded"),
        ({"config_options": {"nonesuch": 1}}, "cannot be opened"),
    ],
)
def test_what_cannot_be_opened_is_said_by_name(profile: dict[str, Any], words: str, tmp_path: Path) -> None:
    place = output(tmp_path / "p", **{"path": table(tmp_path / "own.duckdb"), **profile})
    with pytest.raises(WarehouseError) as refused, open_warehouse(place):
        pass
    assert words in refused.value.message
    assert "not built" not in refused.value.message


def test_a_secret_stays_one(tmp_path: Path) -> None:
    secret = {"type": "s3", "key_id": "AKIAKEY", "secret": "hunter2"}
    place = output(tmp_path / "p", path=table(tmp_path / "own.duckdb"), secrets=[secret])
    assert "hunter2" not in repr(place)
    with pytest.raises(WarehouseError) as refused, open_warehouse(place):
        raise WarehouseError("it can be made here", "")
    assert "hunter2" not in refused.value.message + refused.value.hint


def test_what_dbt_alone_can_use_is_named_where_something_is_missing(tmp_path: Path) -> None:
    place = output(tmp_path / "p", path=table(tmp_path / "own.duckdb"), filesystems=[{"fs": "memory"}])
    with pytest.raises(WarehouseError, match="the query is not built") as refused:
        read(place, "main.nonesuch")
    assert refused.value.hint.startswith("the profile's filesystems cannot be used here: only dbt has that.")


def test_settings_of_the_start_count_as_settings_do(tmp_path: Path) -> None:
    place = output(tmp_path / "p", path=table(tmp_path / "own.duckdb"), config_options={"threads": 1})
    with open_warehouse(place) as warehouse:
        assert warehouse.query("select current_setting('threads') as n").read_all().to_pylist() == [{"n": 1}]


def test_an_attached_file_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    other = table(tmp_path / "lake.duckdb")
    place = output(tmp_path / "p", path=table(tmp_path / "own.duckdb"), attach=[{"path": other}])
    words = r"holds .*lake\.duckdb, and still did after 0\.2 s"
    with holding(other), pytest.raises(WarehouseLockedError, match=words), open_warehouse(place, patience=0.2):
        pass
    assert read(place, "lake.main.t") == [{"a": 7}]


@contextmanager
def holding(path: str) -> Iterator[None]:
    """Another process has the file open to write."""

    code = f"import duckdb; c = duckdb.connect({path!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.stdin.close()

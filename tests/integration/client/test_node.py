"""The reader in JavaScript gives what the Python client gives, from the schema and the page alone.

It runs where Node.js is and its packages are: `make test` installs them where it finds npm and a registry of packages.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse import FeatureClient
from feature_warehouse.registry.feature import Entity, FeatureService, JoinKey, ServiceView
from feature_warehouse.wire.decode import microseconds, proto_text
from tests.support.facts import service, view
from tests.support.projects import ROOT
from tests.support.served import NAMESPACE, Served
from tests.support.wanted import want

FOLDER = ROOT / "examples" / "node"


@pytest.fixture(scope="module", autouse=True)
def _node() -> None:
    installed = (FOLDER / "node_modules" / "protobufjs").exists()
    want("node", found=installed and shutil.which("node") is not None)


PLACE = Entity("place", (JoinKey("name", "varchar"), JoinKey("number", "bigint")))

#: Of each type some values; the first row has the first ones, and so on; then come NULLs.
VALUES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "tinyint": [-128, 0, 127],
    "bigint": [-(2**63), 2**53 + 1, 2**63 - 1, 0],
    "ubigint": [2**64 - 1, 0],
    "hugeint": [str(-(2**127)), "0"],
    "float": [0.5, math.nan, -math.inf],
    "double": [0.1, math.inf, 5e-324, 1.7976931348623157e308],
    "decimal(9,4)": ["12.3400", "-0.0500"],
    "varchar": ["", "Zürich 東京 😀", "a\0b"],
    "blob": [b"\x00\xff", b""],
    "date": [-719162, -1, 0, 2932896],
    "timestamptz": [-1, 0, 253402300799999999],
    "double[]": [[], [0.5, -1.0], [0.1] * 768],
    "integer[]": [[0, -1, 2**31 - 1], []],
    "ubigint[]": [[2**64 - 1]],
}

THINGS = view(
    "some_things",
    *(f"f{number} {type_}" for number, type_ in enumerate(VALUES)),
    version=3,
    entity=PLACE,
    ttl=timedelta(days=7),
    expected_every=timedelta(hours=1),
)
OTHERS = view("others", "score double", entity=PLACE, expected_every=timedelta(days=1))
NAMES = ["a", "", "|", "\\:", "ü", "😀"]


def test_a_reader_in_javascript_reads_the_same(redis_url: str, tmp_path: Path) -> None:
    both = FeatureService(
        name="both",
        version=2,
        views=(
            ServiceView(view="some_things.v3", features=("f1", "f8"), keys={"name": "origin"}, prefix="origin_"),
            ServiceView(view="some_things.v3", features=("f1", "f10"), keys={"name": "dest"}, prefix="dest_"),
            ServiceView(view="others.v1", features=("score",), keys={"name": "dest"}),
        ),
    )
    everything = service("everything", "some_things.v3 " + " ".join(f"f{n}" for n in range(len(VALUES))))
    with Served(redis_url, [THINGS, OTHERS], [everything, service("both", "others.v1 score"), both]) as served:
        for row, name in enumerate(NAMES):
            features = {f"f{n}": values[row] for n, values in enumerate(VALUES.values()) if row < len(values)}
            served.put("some_things.v3", {"name": name, "number": row}, age=timedelta(days=row), **features)
        served.put("some_things.v3", {"name": "old", "number": -1}, age=timedelta(days=7, seconds=1), f1=1)
        served.put("others.v1", {"name": "a", "number": 1}, score=0.25)
        served.mark(served.registry.views["others.v1"], as_of=served.now - timedelta(days=2))
        proto = tmp_path / "features.proto"
        proto.write_text(proto_text(served.registry.views.values()))
        keys = [*((name, row) for row, name in enumerate(NAMES)), ("old", -1), ("nowhere", 2**62 // 2**20), (None, 1)]
        named = [{"name": name, "number": number} for name, number in keys]
        roles = [{"origin": name, "dest": "a", "number": number} for name, number in keys]
        with FeatureClient(redis_url, NAMESPACE) as client:
            for wanted, rows, id_ in (("everything", named, "everything@1"), ("both", roles, "both@2")):
                found = client.get_online_features(wanted, rows)
                assert found.service == id_
                ours = [
                    {
                        name: {"value": spelled(value), "status": status}
                        for name, value, status in zip(found.names, values, statuses, strict=True)
                    }
                    for values, statuses in zip(found.values, found.statuses, strict=True)
                ]
                assert read(redis_url, proto, wanted, rows) == ours
        statuses = {status for row in found.statuses for status in row}
        assert statuses == {"present", "null", "missing", "expired", "stale"}


def read(url: str, proto: Path, wanted: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["node", "read.js", url, NAMESPACE, proto, wanted],
        cwd=FOLDER,
        input="\n".join(map(json.dumps, rows)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def spelled(value: Any) -> Any:
    """As examples/node/read.js prints it."""
    if isinstance(value, list):
        return [spelled(each) for each in value]
    if isinstance(value, datetime):
        return str(microseconds(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return {"type": "Buffer", "data": list(value)}
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("inf", "Infinity").replace("nan", "NaN")
    return value

"""The Feast package as a peer: its DuckDB offline store, in a process and an environment of its own (.venv-feast)."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.support.projects import ROOT

PYTHON = ROOT / ".venv-feast" / "bin" / "python"

HERE = ROOT / "tests" / "feast"


class FeastError(Exception):
    """What Feast raised: the name of its error, and its words."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


@dataclass(frozen=True, kw_only=True)
class Read:
    """Features of one history. ``keys``: join key -> column of the labels. ``ttl_seconds``: 0 = no limit."""

    name: str
    history: str  # a Parquet file
    keys: dict[str, str]
    features: tuple[str, ...]
    event_timestamp: str = "event_at"
    created_timestamp: str = ""
    ttl_seconds: float = 0


@dataclass(frozen=True)
class Answer:
    """``seconds``: of Feast's call and of fetching its result, in its own process."""

    table: pa.Table
    seconds: float


class Feast:
    """A running Feast. Start-up takes some three seconds, a small request a tenth of one."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._log = open(Path(self._folder.name) / "feast.log", "w+")  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            [PYTHON, HERE / "process.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._version: str | None = None

    def __enter__(self) -> Feast:
        return self

    @property
    def version(self) -> str:
        """Waits until Feast has started."""
        if self._version is None:
            self._version = str(self._reply()["version"])
        return self._version

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()
        self._log.close()
        self._folder.cleanup()

    def historical_features(
        self,
        labels: pa.Table,
        reads: Sequence[Read],
        *,
        filter_by_created_timestamp: bool = False,
        full_feature_names: bool = False,
        typed_labels: bool = True,
        as_pandas: bool = False,
    ) -> Answer:
        """What `FeatureStore.get_historical_features` gives; raises FeastError with what it raised.

        ``typed_labels``: the labels' integers and texts keep their types in the pandas frame that Feast takes, else it
        is the frame that pandas makes by default. ``as_pandas``: the result is taken with `to_df`, else `to_arrow`.
        """
        given, output = (str(Path(self._folder.name) / name) for name in ("labels.arrow", "answer.arrow"))
        with pa.OSFile(given, "wb") as file, pa.ipc.new_file(file, labels.schema) as writer:
            writer.write_table(labels)
        request = {
            "labels": given,
            "output": output,
            "reads": [asdict(read) for read in reads],
            "filter_by_created_timestamp": filter_by_created_timestamp,
            "full_feature_names": full_feature_names,
            "typed_labels": typed_labels,
            "as_pandas": as_pandas,
        }
        assert self.version
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = self._reply()
        if "error" in reply:
            raise FeastError(reply["error"], reply["message"])
        with pa.OSFile(output) as file:
            return Answer(pa.ipc.open_file(file).read_all(), reply["seconds"])

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise AssertionError(f"Feast's process has ended: {self._log.read()}")
        reply: dict[str, Any] = json.loads(line)
        return reply

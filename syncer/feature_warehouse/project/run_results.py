"""dbt's run_results.json: when each model was last built, how that ended, and which feature views it speaks against.

dbt keeps the results of its last command alone, so a model that this command did not build is not in it: nothing is
known of its last run then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_warehouse.project.declarations import DeclaredView

#: The commands of dbt that build models; `compile` and `show` call theirs a success too.
_BUILDING = {"build", "run", "retry", "clone"}

#: Those whose results say something of the rows: they build models, or test them.
_JUDGING = _BUILDING | {"test", "seed", "snapshot"}

#: What keeps a node from being what its SQL says, and what a test that warns or passes is not.
FAILED = {"error", "runtime error", "fail", "skipped", "partial success"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """One model in dbt's last run; ``ended_at`` in real time, whatever clock the project has."""

    ended_at: datetime
    succeeded: bool


def read_runs(path: Path) -> dict[str, ModelRun]:
    """{unique id: its last run} from run_results.json; {} when there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
        if content["args"]["which"] not in _BUILDING:
            return {}
        ended = content["metadata"]["generated_at"]
        return {each["unique_id"]: _run(each, ended) for each in content["results"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def read_failures(path: Path, manifest: Mapping[str, Any], declared: Mapping[str, DeclaredView]) -> dict[str, str]:
    """By view id, what dbt's last command says against publishing a feature view, in a sentence.

    That its model, its latest-value view, or a model, seed or snapshot above them failed or was skipped, or that a test
    of one of them failed. Views of which nothing of the kind is known are left out; {} when there are no results.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["args"]["which"] not in _JUDGING:
            return {}
        results = {each["unique_id"]: each for each in content["results"] if each["status"] in FAILED}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    if not results:
        return {}
    nodes: Mapping[str, Any] = {**manifest["nodes"], **manifest.get("unit_tests", {})}
    tests: dict[str, list[str]] = {}  # by what they test
    for id_ in results:
        if id_.split(".", 1)[0] in ("test", "unit_test") and results[id_]["status"] != "skipped" and id_ in nodes:
            attached = nodes[id_].get("attached_node")
            for tested in [attached] if attached else nodes[id_]["depends_on"]["nodes"]:
                tests.setdefault(tested, []).append(id_)
    found = {}
    for view, each in declared.items():
        own = [each.unique_id, *([each.latest_unique_id] if each.latest_unique_id else [])]
        ids = [*_above(own, nodes)]
        against: list[tuple[Mapping[str, Any], str | None]] = [(results[id_], None) for id_ in ids if id_ in results]
        against += [(results[test], id_) for id_ in ids for test in tests.get(id_, ())]
        against.sort(key=lambda found: found[0]["status"] == "skipped")  # after what it was skipped for
        if against:
            more = f" and {len(against) - 1} more" if len(against) > 1 else ""
            found[view] = f"in dbt's last run {_words(*against[0], nodes)}{more}"
    return found


def _above(ids: list[str], nodes: Mapping[str, Any]) -> Iterator[str]:
    """These nodes and all that they are made from, from below upwards, each once."""
    seen = dict.fromkeys(ids)
    queue = list(seen)
    while queue:
        id_ = queue.pop(0)
        yield id_
        for parent in nodes.get(id_, {}).get("depends_on", {}).get("nodes", ()):
            if parent not in seen:
                seen[parent] = None
                queue.append(parent)


def _words(result: Mapping[str, Any], tested: str | None, nodes: Mapping[str, Any]) -> str:
    """'the model stg_orders failed: Conversion Error', 'the test not_null_orders_plan of orders failed: Got 3'."""
    kind, _, _ = result["unique_id"].partition(".")
    name = nodes.get(result["unique_id"], {}).get("name", result["unique_id"])
    of = f" of {nodes[tested]['name']}" if tested and tested in nodes else ""
    said = " ".join(str(result.get("message") or "").split())
    verb = "was skipped" if result["status"] == "skipped" else "failed"
    return f"the {kind.replace('_', ' ')} {name}{of} {verb}" + (f": {said:.200}" if said and verb == "failed" else "")


def _run(result: dict[str, Any], ended: str) -> ModelRun:
    """``ended``: when the whole command did; a model that was skipped has no time of its own."""
    times = [step["completed_at"] for step in result["timing"] if step.get("completed_at")]
    moment = max(times, default=ended)
    return ModelRun(
        ended_at=datetime.fromisoformat(moment.replace("Z", "+00:00")), succeeded=result["status"] == "success"
    )

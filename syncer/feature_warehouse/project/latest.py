"""The SQL of latest values at an instant that stands in its text, for engines whose sessions have no variables.

dbt compiles `latest_values` once for all feature views, at an instant that stands for any other; a run only puts its
own in. What dbt made is kept in the target folder for as long as what it was made from is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from feature_warehouse.errors import ProjectError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.project import Project

#: The instant that stands for any other. Nothing else in a project is as old.
_ANY = "0001-01-01T00:00:00.000001Z"

_APART = "\n-- and the next view\n"

#: The file of what dbt made, in the target folder.
_KEPT = "latest_values.json"

_CLOCK = "macro.feature_warehouse.current_instant"


@dataclass(frozen=True, slots=True)
class LatestSql:
    """The latest values of each feature view, by view id, at an instant that is still to be put in."""

    texts: Mapping[str, str]

    def at(self, view: str, instant: datetime) -> str:
        """A query."""
        return self.texts[view].replace(_ANY, instant.astimezone(timezone.utc).isoformat().replace("+00:00", "Z"))


def latest_sql(project: Project, manifest: Mapping[str, Any], views: Iterable[DeclaredView]) -> LatestSql:
    """What dbt makes of ``views``, or made of them earlier. Raises ProjectError in dbt's words, or those of the macro,
    and where a view's rows would be those of another instant."""
    wanted = sorted(views, key=lambda each: each.view.id)
    for each in wanted:
        _check_clock(manifest, each, project.output.adapter)
    made_from = _made_from(project, manifest, wanted)
    kept = project.manifest_path.with_name(_KEPT)
    texts = _read(kept, made_from)
    if texts is None:
        texts = dict(zip((each.view.id for each in wanted), _compiled(project, wanted), strict=True))
        _write(kept, made_from, texts)
    return LatestSql(texts)


def _compiled(project: Project, views: Iterable[DeclaredView]) -> list[str]:
    from feature_warehouse.project.compiling import compile_sql  # with the SQL reader, which a sync does without

    calls = [
        f"{{{{ feature_warehouse.latest_values(ref({each.unique_id.split('.')[1]!r}, {each.view.name!r}, "
        f"v={each.view.version}), at={_ANY!r}) }}}}"
        for each in views
    ]
    texts = compile_sql(project, _APART.join(calls)).split(_APART.strip())
    if len(texts) != len(calls) or not all(_ANY in text for text in texts):
        raise ProjectError(
            "latest_values does not take the instant it is given", "is another macro of that name in the project?"
        )
    return [text.strip() for text in texts]


def _made_from(project: Project, manifest: Mapping[str, Any], views: Iterable[DeclaredView]) -> str:
    """A checksum of all that decides what dbt makes: macros, what the views declare and where they are, variables."""
    nodes = {}
    for each in views:
        node = manifest["nodes"][each.unique_id]
        columns = {name: column.get("data_type") for name, column in node["columns"].items()}
        nodes[each.unique_id] = [node["relation_name"], node["config"].get("meta"), columns]
    macros = {id_: macro["macro_sql"] for id_, macro in manifest["macros"].items()}
    made_from = [manifest["metadata"].get("adapter_type"), nodes, macros, project.variables]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()


def _read(kept: Path, made_from: str) -> dict[str, str] | None:
    try:
        found: Any = json.loads(kept.read_bytes())
        return dict(found["texts"]) if found["made_from"] == made_from else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(kept: Path, made_from: str, texts: Mapping[str, str]) -> None:
    """The file is there when it is complete. A folder that cannot be written costs a call of dbt each time."""
    unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps({"made_from": made_from, "texts": texts}), encoding="utf-8")
        os.replace(unfinished, kept)
    except OSError:
        unfinished.unlink(missing_ok=True)


def _check_clock(manifest: Mapping[str, Any], declared: DeclaredView, adapter: str) -> None:
    """Raises ProjectError for a view below the latest values that asks for the instant itself: it would get the
    server's clock, while the latest values are those of the run's. What a table holds was decided when it was built."""
    asking = _asking(manifest["macros"])
    waiting, seen = [declared.unique_id], set[str]()
    while waiting:
        node = manifest["nodes"].get(waiting.pop())
        if node is None or node["unique_id"] in seen or node["config"].get("materialized") not in ("view", "ephemeral"):
            continue
        seen.add(node["unique_id"])
        if asking.intersection(node["depends_on"].get("macros", ())):
            raise ProjectError(
                f"{node['original_file_path']}: the view {node['name']} asks current_instant(), and {declared.view.id} "
                f"is served from it: on {adapter} it would be read at the server's clock, not at the sync's instant",
                "materialize it as a table or as incremental, so that dbt's run decides; or leave the instant to "
                "latest_values, which asks for it anyway",
            )
        waiting += node["depends_on"].get("nodes", ())


def _asking(macros: Mapping[str, Any]) -> set[str]:
    """The macros that call `current_instant`, directly or through others, and itself."""
    found = {_CLOCK}
    while more := {
        id_ for id_, macro in macros.items() if id_ not in found and found.intersection(macro["depends_on"]["macros"])
    }:
        found |= more
    return found

"""The manifest of a training set: what it was made from and what came out, in a JSON file beside it.

Enough to make the set again, and to name what has changed where another one comes out: the spine, the service, the
definition or the history of a feature view, the code, the software. The page docs/guides/training-sets.md shows one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from feature_warehouse.errors import RequestError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.feature import FeatureService
from feature_warehouse.training.content import ColumnContent, TableContent
from feature_warehouse.warehouse.source import Source

#: Of this file; a reader refuses another one.
FORMAT = 1

SUFFIX = ".manifest.json"

#: Whose releases may change what comes out.
SOFTWARE = ("feature-warehouse", "dbt-core", "dbt-duckdb", "duckdb")

_ELSEWHERE = {"postgres": ("dbt-postgres", "adbc-driver-postgresql")}

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpineRecord:
    """Where the rows came from, and their values: ``columns`` of them, the first of the training set."""

    kind: str  # file, model, sql, rows
    source: str | None  # path from the manifest's folder, name, text; None for rows that were given from Python
    columns: int
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """The rows of a feature view that could have been read: how many, and a hash in which their order plays no part."""

    rows: int
    hash: str
    newest_available_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRecord:
    """A feature view version as it was read: what it means, as the registry keeps it; None where that is not known."""

    view: str  # its id
    features: tuple[str, ...]
    definition: str | None
    history: HistoryRecord
    settled: str | None = None  # the model of the settled history that was read in place of the view


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRecord:
    """The commit of the dbt project; ``dirty``: its files were not as committed."""

    commit: str
    dirty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetManifest:
    """What a training set was made from and what came out. Instants are ISO 8601 in UTC."""

    content: TableContent
    created_at: str
    project: str
    features: str | tuple[str, ...]  # a service's id, or the ids of feature views
    service: str | None  # a hash of the service's definition
    timestamp: str  # the spine's time column
    known_as_of: str | None
    read_until: str | None  # the spine's latest time: what began to count later could not be read; None: nothing could
    spine: SpineRecord
    views: tuple[ViewRecord, ...]
    code: CodeRecord | None  # None where the project is in no git repository
    software: Mapping[str, str]
    snapshots: Mapping[str, int] = field(default_factory=dict)  # {catalog: the one that was read} of DuckLakes

    def as_json(self) -> dict[str, Any]:
        """The members of the file, in its order. Releases that know of no snapshots read what has none."""
        members = asdict(self)
        if not self.snapshots:
            del members["snapshots"]
        return {"format": FORMAT, "content": self.content.hash, **members.pop("content"), **members}

    def write(self, path: Path) -> None:
        """The file is there when it is complete."""
        unfinished = Path(f"{path}.unfinished")
        try:
            unfinished.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def manifest_path(path: Path) -> Path:
    """Where the manifest of the training set at ``path`` is."""
    return Path(f"{path}{SUFFIX}")


def read_manifest(path: Path) -> TrainingSetManifest:
    """The manifest in a file. Raises RequestError when it is none, is of another format, or has been edited."""
    wrong = f"{path} is not the manifest of a training set"
    hint = f"`syncer training-set ... -o training.parquet` writes training.parquet{SUFFIX}"
    try:
        written: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"there is no manifest at {path}", hint) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{wrong}: {error}", hint) from error
    if not isinstance(written, dict) or "format" not in written:
        raise RequestError(wrong, hint)
    if written["format"] != FORMAT:
        raise RequestError(
            f"{path} has the format {written['format']}, and this release reads {FORMAT}",
            "use the release that wrote it",
        )
    try:
        manifest = _from_json(written)
    except (KeyError, TypeError) as error:
        raise RequestError(f"{wrong}: {error}", hint) from error
    if manifest.content.hash != written["content"]:
        raise RequestError(f"{path} has been edited: its columns do not make its content hash", "restore the file")
    return manifest


def _from_json(written: Mapping[str, Any]) -> TrainingSetManifest:
    members = {name: value for name, value in written.items() if name not in ("format", "content", "rows", "columns")}
    views = (
        ViewRecord(**view | {"features": tuple(view["features"]), "history": HistoryRecord(**view["history"])})
        for view in written["views"]
    )
    features, code = written["features"], written["code"]
    members |= {
        "features": features if isinstance(features, str) else tuple(features),
        "spine": SpineRecord(**written["spine"]),
        "views": tuple(views),
        "code": CodeRecord(**code) if code else None,
    }
    content = TableContent(written["rows"], tuple(ColumnContent(**column) for column in written["columns"]))
    return TrainingSetManifest(content=content, **members)


# --- what goes into it ------------------------------------------------------------------------------------------------


def service_hash(service: FeatureService) -> str:
    """A hash of what a service gives: its views, features, roles and on-demand features; not of who owns it."""
    return _hash({**asdict(service), "owner": None})


def history(
    source: Source,
    declared: DeclaredView,
    features: Iterable[str],
    until: str | None,
    known_by: Sequence[str | None] = (),
) -> HistoryRecord:
    """What there was to read of ``features``: the rows that had happened and were known by ``until``, and ``known_by``.

    The hash is that of the engine, which names it unless it is DuckDB's: the sum of its hashes of the rows. DuckDB's
    own are 64 bits each: one pass, a tenth of the time of a cryptographic one. They do not tell 0.0 from -0.0.
    """
    view = declared.view
    known = view.available_at or view.event_timestamp
    # without a time of availability the event time comes twice, in each manifest that was ever written
    columns = [*(key.name for key in view.entity.join_keys), view.event_timestamp, known]
    columns += [*([view.deleted] if view.deleted else []), *features]
    dialect = source.dialect
    types = {feature.name: feature.type for feature in view.features}
    hashed = dialect.hashed_rows((name, types.get(name, "")) for name in columns)
    bounds = [f"\"{known}\" <= timestamptz '{instant}'" for instant in (until, *known_by) if instant is not None]
    query = (
        f"select count(*) as rows, {hashed} as hash, "
        f"{dialect.instant_text.format(instant=f'max({dialect.quoted(known)})')} as newest_available_at "
        f"from {declared.relation} "
        f"where {until is not None} and \"{view.event_timestamp}\" <= timestamptz '{until or 'epoch'}'"
    )
    batches = source.batches(" and ".join([query, *bounds]), of=view.id)
    (row,) = (row for batch in batches for row in batch.to_pylist())
    return HistoryRecord(**row)


def code_revision(folder: Path, paths: Iterable[Path]) -> CodeRecord | None:
    """The commit of the git repository that ``folder`` is in; dirty when a file of ``paths`` is not as committed."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", *(str(path) for path in paths if path.exists()))
    except (OSError, subprocess.CalledProcessError):
        return None
    return CodeRecord(commit=commit, dirty=bool(changed))


def software(adapter: str) -> dict[str, str]:
    """The release of each of SOFTWARE, and of what reads another warehouse than DuckDB."""
    found = {}
    for name in (*SOFTWARE, *_ELSEWHERE.get(adapter, ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def instant_text(microseconds: int | None) -> str | None:
    """An instant as DuckDB exports it, in text; None for -infinity and for none at all."""
    try:
        moment = None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return "infinity" if microseconds and microseconds > 0 else None
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


# --- what has changed -------------------------------------------------------------------------------------------------


def changed_inputs(before: TrainingSetManifest, now: TrainingSetManifest) -> list[str]:
    """A sentence for each thing that the sets were made from and that is another one now, but for histories."""
    changes = []
    if before.project != now.project:
        changes.append(f"the project is {now.project}, and was {before.project}")
    spines = [manifest.content.first(manifest.spine.columns) for manifest in (before, now)]
    if spines[0] != spines[1]:
        changes.append(f"the spine has changed: {'; '.join(changed_content(*spines))}")
    if before.service != now.service:
        changes.append(f"the definition of the service {now.features} has changed")
    for catalog, snapshot in before.snapshots.items():
        if now.snapshots.get(catalog) != snapshot:
            changes.append(f"snapshot {snapshot} of {catalog} was read, and the profile attaches no such lake now")
    old = {view.view: view for view in before.views}
    changes += [change for view in now.views if view.view in old for change in changed_definition(old[view.view], view)]
    for name in dict.fromkeys([*SOFTWARE, *before.software, *now.software]):
        was, new = (manifest.software.get(name, "not there") for manifest in (before, now))
        if was != new:
            changes.append(f"{name} is {new}, and was {was}")
    if before.code != now.code:
        changes.append(f"the code is {_revision(now.code)}, and was {_revision(before.code)}")
    return changes


def changed_definition(before: ViewRecord, now: ViewRecord) -> list[str]:
    """How the features that were read have changed in what they mean, in a sentence; none for a refactor."""
    if before.definition is None or now.definition is None:
        return [f"whether the definition of {now.view} has changed is not known: its SQL cannot be read"]
    if before.definition == now.definition:
        return []
    from feature_warehouse.gate.judging import compared, in_words
    from feature_warehouse.project.definition import from_text  # with sqlglot, which most commands do without

    definitions = [from_text(record.definition or "", record.view) for record in (before, now)]
    changes = [change for change in compared(*definitions) if change.feature in before.features]
    said = in_words(change for change in changes if change.kind != "refactor")
    return [f"the definition of {now.view} has changed: {said}"] if said else []


def changed_history(view: str, before: HistoryRecord, now: HistoryRecord, now_old: HistoryRecord) -> list[str]:
    """How a history has changed, in a sentence; none when it has not.

    ``now_old``: what is there now of rows that were available when the newest row of ``before`` was.
    """
    if (before.rows, before.hash) == (now.rows, now.hash):
        return []
    more = now.rows - before.rows
    if (before.rows, before.hash) == (now_old.rows, now_old.hash):
        how = f"{_rows(more)} more, available after {before.newest_available_at}; none of the old ones has changed"
    elif more:
        how = f"{_rows(abs(more))} {'more' if more > 0 else 'fewer'}, and not only at its end"
    else:
        how = f"{_rows(now.rows)} as before, with other values in some of them"
    return [f"the history of {view} has changed: {how}"]


def changed_content(before: TableContent, now: TableContent) -> list[str]:
    """What is another one in a table; empty when all is the same."""
    old, new = ({column.name: column for column in content.columns} for content in (before, now))
    both = [name for name in old if name in new]
    changes = [] if before.rows == now.rows else [f"{_rows(now.rows)}, and there were {before.rows:,}"]
    changes += [f"'{name}' is gone" for name in old if name not in new]
    changes += [f"'{name}' is new" for name in new if name not in old]
    changes += [
        f"'{name}' is {new[name].type}, and was {old[name].type}" for name in both if old[name].type != new[name].type
    ]
    if before.rows == now.rows and (different := changed_columns(before, now)):
        changes.append(f"other values in {', '.join(different)}")
    if not changes and before != now:
        changes.append("its columns have another order")
    return changes


def changed_columns(before: TableContent, now: TableContent) -> list[str]:
    """The columns that both have, of one type and with different values."""
    old = {(column.name, column.type): column.hash for column in before.columns}
    return [column.name for column in now.columns if old.get((column.name, column.type), column.hash) != column.hash]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _revision(code: CodeRecord | None) -> str:
    if code is None:
        return "in no git repository"
    return f"at commit {code.commit[:10]}{' with changes that are not committed' if code.dirty else ''}"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

"""The definition of a feature view version: its SQL and that of all models above it, down to sources and seeds.

Knows how dbt's manifest and what dbt compiled become the nodes that `sql` reads, and the file that keeps a definition:
``registry/sql/<view>.v<N>.sql``, reviewed like code. Calls no dbt. In place of relations stand the names of nodes, so
that every target and every machine has the same text: ``ref.stg_flights``, ``ref.carrier_delays_v2``,
``ref.<package>.stg_flights`` for a package's model, ``source.raw.flights`` (the name of the table, where it has another
``identifier``). They cannot be taken for a CTE's name.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from feature_warehouse.errors import DefinitionError, RegistryError
from feature_warehouse.project.compiling import Compiled
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.elsewhere import HOOKS, hooks_of
from feature_warehouse.project.influence import Influence
from feature_warehouse.project.influences import Influences
from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import (
    Unclear,
    name_of,
    plain_name,
    reference,
    relation_parts,
    with_node_names,
    words_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """view: keys, times and features, and the name of its node; nodes: that one and all above it, by name.

    ttl: how old a value may be and still count; None: any age. sync_delay: how much later than known it is online, by
    which training joins. influences: what decides about the rows beside the SQL; None: nobody has written that down.
    """

    view: View
    nodes: Mapping[str, Node]
    ttl: timedelta | None = None
    sync_delay: timedelta | None = None
    influences: tuple[Influence, ...] | None = None


#: The SQL of calls of `rolling_features`, in their order; None for one that is refused.
Render = Callable[[Sequence[Mapping[str, Any]]], Sequence[str | None]]


def _nothing(calls: Sequence[Mapping[str, Any]]) -> Sequence[str | None]:
    return [None] * len(calls)


@dataclass(frozen=True, kw_only=True)
class ProjectDefinitions:
    """By view id. ``problems``: of the views whose SQL cannot be known, one each; these have no definition.

    ``relations``: of the nodes that stand in the warehouse, by name: {'flights': '"warehouse"."main"."flights"'}.
    ``rolled``: of the definitions that are calls of `rolling_features`, the events and aggregates that they mean.
    ``render``: what that macro gives for other calls.
    """

    definitions: Mapping[str, Definition]
    problems: Mapping[str, DefinitionError]
    relations: Mapping[str, str] = field(default_factory=dict)
    rolled: Mapping[str, Definition] = field(default_factory=dict)
    render: Render = field(default=_nothing, repr=False, compare=False)

    @property
    def meant(self) -> dict[str, Definition]:
        """All of them, as what they mean."""
        return {**self.definitions, **self.rolled}

    @cached_property
    def read(self) -> Definitions:
        """All of them together, so that each node is read once for whatever asks about its meaning."""
        return Definitions({name: node for one in self.meant.values() for name, node in one.nodes.items()})


def read_definitions(compiled: Compiled, views: Mapping[str, DeclaredView]) -> ProjectDefinitions:
    """The definitions of the ``views`` of a project."""
    graph, influences = _Graph(compiled), Influences(compiled.manifest, compiled.variables, compiled.deciding)
    definitions: dict[str, Definition] = {}
    problems: dict[str, DefinitionError] = {}
    for id_, declared in views.items():
        try:
            closure = graph.closure(declared.unique_id)
            graph.raise_failed(closure)
            nodes = {graph.name(above): graph.node(above) for above in closure}
        except DefinitionError as problem:
            problems[id_] = DefinitionError(f"{declared.path}: {id_}: {problem.message}", problem.hint)
            continue
        view = _view(graph.name(declared.unique_id), declared)
        definitions[id_] = Definition(
            view=view,
            nodes=nodes,
            ttl=declared.view.ttl,
            sync_delay=declared.sync_delay,
            influences=influences.of(
                declared.unique_id, graph.names_above(declared.unique_id), graph.names(declared.latest_unique_id)
            ),
        )
    return ProjectDefinitions(definitions=definitions, problems=problems, relations=graph.relations())


def node_names(compiled: Compiled) -> dict[str, str]:
    """What each model, seed, snapshot and source is called in definitions, by unique id."""
    return naming(compiled.manifest)[0]


def naming(manifest: Mapping[str, Any]) -> tuple[dict[str, str], Callable[[str], str]]:
    """What nodes are called in definitions, by unique id; and what makes such names of the relations in a text."""
    graph = _Graph(Compiled(manifest=dict(manifest), sql={}))
    return {id_: graph.name(id_) for id_ in graph.ids()}, graph.named


def _view(node: str, declared: DeclaredView) -> View:
    view = declared.view
    return View(
        node=node,
        join_keys={key.name: key.type for key in view.entity.join_keys},
        event_timestamp=view.event_timestamp,
        available_at=view.available_at,
        deleted=view.deleted,
        features={feature.name: feature.type for feature in view.features},
    )


# --- from dbt ---------------------------------------------------------------------------------------------------------

#: What an incremental model's config says about the rows that stand there.
_INCREMENTAL = (
    "incremental_strategy",
    "incremental_predicates",
    "merge_update_columns",
    "merge_exclude_columns",
    "full_refresh",
)
#: Why a snapshot is compared as text: what stands in it was decided by all its runs.
SNAPSHOT = "it is a snapshot"

_MICROBATCH = ("event_time", "batch_size", "lookback", "begin")

#: What SQL may read.
_IN_WAREHOUSE = ("model", "seed", "snapshot", "source")

#: What a snapshot's config says about which rows it keeps.
_SNAPSHOT = ("strategy", "updated_at", "check_cols", "hard_deletes", "invalidate_hard_deletes", "dbt_valid_to_current")


class _Graph:
    """The nodes of a manifest, by unique id, and each read once."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._known: dict[str, Any] = {**compiled.manifest["nodes"], **compiled.manifest.get("sources", {})}
        self._project = compiled.manifest["metadata"]["project_name"]
        references = {relation: reference(name) for name, relation in self.relations().items()}
        # dbt-duckdb writes a source that it reads from files as the call that reads them, or as a path in quotes.
        self._external = {text: name for text, name in references.items() if text.endswith((")", "'"))}
        self._references = {relation: name for relation, name in references.items() if relation not in self._external}
        self._parts_of_relations = relation_parts(self._references)
        self._nodes: dict[str, Node] = {}
        adapter = compiled.manifest["metadata"].get("adapter_type") or "duckdb"
        self._dialect = "" if adapter == "duckdb" else adapter

    def ids(self) -> list[str]:
        """Of what SQL may read."""
        return [id_ for id_, node in self._known.items() if node["resource_type"] in _IN_WAREHOUSE]

    def name(self, unique_id: str) -> str:
        """What the node is called: its place in SQL without ``ref.``."""
        return ".".join(self._parts(unique_id)).removeprefix("ref.")

    def _parts(self, unique_id: str) -> list[str]:
        node = self._known[unique_id]
        package = [] if node["package_name"] == self._project else [node["package_name"]]
        if node["resource_type"] == "source":
            return ["source", *package, node["source_name"], node.get("identifier") or node["name"]]
        version = "" if node.get("version") is None else f"_v{node['version']}"
        return ["ref", *package, node["name"] + version]

    def relations(self) -> dict[str, str]:
        return {
            self.name(id_): node["relation_name"]
            for id_, node in self._known.items()
            if node.get("relation_name") and node["resource_type"] in _IN_WAREHOUSE
        }

    def closure(self, unique_id: str) -> list[str]:
        """The node and all above it, nearest first; ephemeral models are part of the SQL that reads them."""
        found = [unique_id]
        for id_ in found:
            found += [above for above in self._above(id_) if above not in found]
        return found

    def names(self, *unique_ids: str | None) -> dict[str, str]:
        return {id_: self.name(id_) for id_ in unique_ids if id_ is not None}

    def names_above(self, unique_id: str) -> dict[str, str]:
        """The node and all above it, ephemeral models too, by unique id."""
        found = [unique_id]
        for id_ in found:
            above = self._known[id_].get("depends_on", {}).get("nodes", ())
            found += [one for one in dict.fromkeys(above) if one in self._known and one not in found]
        return self.names(*found)

    def _above(self, unique_id: str) -> Iterator[str]:
        if unique_id not in self._known:
            raise DefinitionError(f"it reads {unique_id}, which is not in the manifest", "see what `dbt ls` says of it")
        for above in dict.fromkeys(self._known[unique_id].get("depends_on", {}).get("nodes", ())):
            if self._known.get(above, {}).get("config", {}).get("materialized") == "ephemeral":
                yield from self._above(above)
            else:
                yield above

    def raise_failed(self, unique_ids: Iterable[str]) -> None:
        """Raises DefinitionError for the first one that dbt could not compile."""
        for id_ in unique_ids:
            if id_ in self._compiled.failed:
                why = self._compiled.failed[id_]
                raise DefinitionError(why.message, why.hint)

    def node(self, unique_id: str) -> Node:
        """Raises DefinitionError for a node whose SQL is not known."""
        if unique_id not in self._nodes:
            known = self._known[unique_id]
            leaf = known["resource_type"] in ("source", "seed")
            self._nodes[unique_id] = _leaf(known) if leaf else self._query(unique_id, known)
        return self._nodes[unique_id]

    def _query(self, unique_id: str, known: Mapping[str, Any]) -> Node:
        kind, config = known["resource_type"], known["config"]
        if kind not in ("model", "snapshot"):
            raise DefinitionError(f"it reads {unique_id}, a {kind}", "read models, seeds, snapshots and sources alone")
        if known.get("language", "sql") != "sql":
            raise DefinitionError(
                f"the model {known['name']} is in {known['language'].capitalize()}, where no change could be judged",
                "write it in SQL; or declare the table that it makes as a source, and watch that yourself",
            )
        sql = self._compiled.sql.get(unique_id, "").strip()
        if not sql:
            raise DefinitionError(
                f"dbt compiled no SQL for {unique_id}", f"see what `dbt compile -s {known['name']}` says"
            )
        later = None
        if config.get("materialized") == "incremental":
            later = self._compiled.later.get(unique_id, "").strip()
            if not later:
                raise DefinitionError(
                    f"dbt compiled no SQL for later runs of {unique_id}",
                    f"see what `dbt compile -s {known['name']}` says",
                )
        settings: tuple[str, ...] = _INCREMENTAL if later is not None else _SNAPSHOT if kind == "snapshot" else ()
        settings += _MICROBATCH if later is not None and config.get("incremental_strategy") == "microbatch" else ()
        unique_key = config.get("unique_key") if settings else None
        hooks = [sql for hook in HOOKS for sql in hooks_of(config, hook)]
        return Node(
            sql=self.named(sql),
            incremental=None if later is None else self.named(later),
            strategy=" ".join(_settings(config, settings)),
            unique_key=tuple([unique_key] if isinstance(unique_key, str) else unique_key or ()),
            reads=tuple(sorted(self.name(above) for above in self._above(unique_id))),
            opaque=SNAPSHOT if kind == "snapshot" else "it has hooks" if hooks else "",
            hooks=tuple(map(self.named, hooks)),
            dialect=self._dialect,
        )

    def named(self, sql: str) -> str:
        for text in sorted(self._external, key=len, reverse=True):
            sql = sql.replace(text, self._external[text])
        try:
            return with_node_names(_tidied(sql, self._dialect), self._parts_of_relations, self._dialect)
        except Unclear:  # it cannot be split into words, and will be compared as text
            for relation in sorted(self._references, key=len, reverse=True):
                sql = sql.replace(relation, self._references[relation])
            return sql


def _settings(config: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    """The first one alone, the others by name; of those that are set."""
    for number, name in enumerate(names):
        value = config.get(name)
        if value not in (None, []):
            yield str(value) if not number else f"{name}={value}"


def _leaf(known: Mapping[str, Any]) -> Node:
    """A source with the columns that are declared; a seed with those of its file, of the types that it is loaded as.

    What YAML says of a seed's columns beside ``column_types`` is a remark: dbt does nothing with it.
    """
    if known["resource_type"] == "source":
        return Node(columns={column["name"]: column.get("data_type") or "" for column in known["columns"].values()})
    config = known["config"]
    types = {name.lower(): type_ for name, type_ in (config.get("column_types") or {}).items()}
    path = Path(known.get("root_path") or "", known["original_file_path"])
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file, delimiter=config.get("delimiter") or ","))
    except (OSError, StopIteration, UnicodeDecodeError) as error:
        why = str(error) or "it is empty"
        raise DefinitionError(f"the header of the seed {path} cannot be read: {why}", "restore the file") from error
    return Node(columns={name: types.get(name.lower(), "") for name in header}, closed=True)


_ENDS, _BLANK = re.compile(r"[ \t\r]+\n"), re.compile(r"\n\n+")


def _tidied(sql: str, dialect: str) -> str:
    """Without the empty lines and ends of lines that Jinja leaves, where these are not part of a text in quotes."""
    tidied = _BLANK.sub("\n", _ENDS.sub("\n", sql))
    return tidied if tidied == sql or words_of(tidied, dialect) == words_of(sql, dialect) else sql


# --- as a file --------------------------------------------------------------------------------------------------------

#: A line of the file itself, in SQL a comment. Lines of SQL that begin with three dashes get a fourth.
_MARK = "---"

_HEAD = "-- What {id} means, as it was accepted. Written by `syncer register`: to be reviewed, not to be edited."


def to_text(id_: str, definition: Definition) -> str:
    """The file of a definition: the view first, then the models above it, seeds and sources, by name."""
    view = definition.view
    lines = [_HEAD.format(id=id_), "", f"{_MARK} view {view.node}"]
    lines += [f"{_MARK}   key {plain_name(name)} {type_}" for name, type_ in view.join_keys.items()]
    for setting in ("event_timestamp", "available_at", "deleted"):
        if getattr(view, setting):
            lines.append(f"{_MARK}   {setting} {getattr(view, setting)}")
    if definition.ttl is not None:
        lines.append(f"{_MARK}   ttl_seconds {int(definition.ttl.total_seconds())}")
    lines += [f"{_MARK}   feature {plain_name(name)} {type_}" for name, type_ in view.features.items()]
    if definition.sync_delay is not None:
        lines.append(f"{_MARK}   sync_delay_seconds {int(definition.sync_delay.total_seconds())}")
    if definition.influences is not None:
        lines += ["", f"{_MARK} beside the SQL"]
        lines += [f"{_MARK}   {one.kind} {_json([one.of, one.name, one.value])}" for one in definition.influences]
    nodes = definition.nodes
    order = sorted(nodes, key=lambda name: (name != view.node, nodes[name].sql is None, name))
    for name in order:
        lines += ["", *_node_lines(name, nodes[name])]
    return "\n".join(lines) + "\n"


def _node_lines(name: str, node: Node) -> Iterator[str]:
    yield f"{_MARK} {'model' if node.sql is not None else 'seed' if node.closed else 'source'} {name}"
    yield from (f"{_MARK}   reads {other}" for other in node.reads or ())
    for setting in ("strategy", "opaque", "dialect"):
        if getattr(node, setting):
            yield f"{_MARK}   {setting} {getattr(node, setting)}"
    yield from (f"{_MARK}   unique_key {key}" for key in node.unique_key)
    yield from (f"{_MARK}   column {plain_name(name)} {type_}".rstrip() for name, type_ in node.columns.items())
    if node.sql is not None:
        yield from _escaped(node.sql)
    if node.incremental is not None:
        yield f"{_MARK} later runs of {name}"
        yield from _escaped(node.incremental)
    for hook in node.hooks:
        yield f"{_MARK} hook of {name}"
        yield from _escaped(hook)


def _escaped(sql: str) -> Iterator[str]:
    yield from ("-" + line if line.startswith(_MARK) else line for line in sql.split("\n"))


def from_text(text: str, path: str) -> Definition:
    """The definition in a file. Raises RegistryError, with ``path``, when it is none."""
    try:
        return _definition(list(_sections(text.replace("\r\n", "\n").split("\n"))))
    except (LookupError, TypeError, ValueError) as error:
        raise RegistryError(
            f"{path} is not what `syncer register` writes: {error}",
            "take the base branch's file and run `syncer register` again",
        ) from error


@dataclass(frozen=True, slots=True)
class _Section:
    """One part of a file: ``--- kind name``, its settings and its SQL."""

    kind: str
    name: str
    settings: list[tuple[str, str]]
    sql: list[str]

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.settings if name == key]

    def one(self, key: str) -> str:
        return next(iter(self.all(key)), "")

    def columns(self, key: str) -> dict[str, str]:
        found = [_COLUMN.fullmatch(value) for value in self.all(key)]
        return {name_of(match[1]): match[2] or "" for match in found if match}

    def text(self) -> str:
        return "\n".join(line[1:] if line.startswith(_MARK + "-") else line for line in self.sql).strip()


_SECTION = re.compile(r"--- (view|beside|model|later runs of|hook of|seed|source) (.+)")
_SETTING = re.compile(r"---   (\w+) (.+)")
_COLUMN = re.compile(r'("(?:[^"]|"")*"|\S+)(?: (.+))?')


def _sections(lines: Iterable[str]) -> Iterator[_Section]:
    section = None
    for line in lines:
        if match := _SECTION.fullmatch(line):
            if section is not None:
                yield section
            section = _Section(match[1], match[2], [], [])
        elif section is None:
            continue  # the heading
        elif match := _SETTING.fullmatch(line):
            section.settings.append((match[1], match[2]))
        elif line.startswith(_MARK) and not line.startswith(_MARK + "-"):
            raise ValueError(f"'{line}'")
        else:
            section.sql.append(line)
    if section is None:
        raise ValueError("it is empty")
    yield section


def _definition(sections: list[_Section]) -> Definition:
    nodes: dict[str, Node] = {}
    for section in sections:
        if section.kind == "later runs of":
            nodes[section.name] = replace(nodes[section.name], incremental=section.text())
        elif section.kind == "hook of":
            nodes[section.name] = replace(nodes[section.name], hooks=(*nodes[section.name].hooks, section.text()))
        elif section.kind not in ("view", "beside"):
            model = section.kind == "model"
            nodes[section.name] = Node(
                sql=section.text() if model else None,
                strategy=section.one("strategy"),
                unique_key=tuple(section.all("unique_key")),
                columns=section.columns("column"),
                closed=section.kind == "seed",
                reads=tuple(section.all("reads")) if model else None,
                opaque=section.one("opaque"),
                dialect=section.one("dialect"),
            )
    [view] = [section for section in sections if section.kind == "view"]
    beside = [section.settings for section in sections if section.kind == "beside"]
    missing = {view.name, *(other for node in nodes.values() for other in node.reads or ())} - nodes.keys()
    if missing:
        raise ValueError(f"there is no {', '.join(sorted(missing))}")
    return Definition(
        view=View(
            node=view.name,
            join_keys=view.columns("key"),
            event_timestamp=view.one("event_timestamp"),
            available_at=view.one("available_at") or None,
            deleted=view.one("deleted") or None,
            features=view.columns("feature"),
        ),
        nodes=nodes,
        ttl=_seconds(view.one("ttl_seconds")),
        sync_delay=_seconds(view.one("sync_delay_seconds")),
        influences=tuple(Influence(kind, *json.loads(said)) for kind, said in beside[0]) if beside else None,
    )


def _seconds(text: str) -> timedelta | None:
    return timedelta(seconds=int(text)) if text else None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

"""What decides about a view's rows beside its SQL: configs, hooks, macros, runs' hooks and variables, node by node.

Everything in dbt's graph above a view counts, except what `HARMLESS` names with its reason: a config key that is not
dbt's default, a hook of a model, seed or snapshot, the macros that hooks and custom materialisations reach, macros that
stand in for dbt's own, `on-run-start` and `on-run-end`, and the variables that any of these ask for. A config key that
nobody has thought of counts, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from feature_warehouse.project.dbt import default_config, releases

#: Config keys that change no value, and why.
HARMLESS: Mapping[str, str] = {
    "access": "who may refer to a model",
    "alias": "where rows are kept",
    "concurrent_batches": "how a run goes, not what it makes",
    "database": "where rows are kept",
    "description": "for people",
    "docs": "for people",
    "enabled": "what is off is not in the graph",
    "freshness": "when a source is late",
    "glue_database": "who else is told of a file",
    "glue_register": "who else is told of a file",
    "grants": "who may read",
    "group": "who owns a model",
    "indexes": "how rows are found",
    "latest_version_pointer": "one more name for the rows of the newest version",
    "loaded_at_field": "when a source is late",
    "loaded_at_query": "when a source is late",
    "location": "where rows are kept",
    "meta": "what of it is ours is declared, and judged as such",
    "on_configuration_change": "of materialized views, which DuckDB has not",
    "on_error": "how a run goes, not what it makes",
    "packages": "of models in Python, which are refused",
    "partition_by": "how rows are stored",
    "partition_columns": "how rows are stored",
    "partitioned_by": "how rows are stored",
    "persist_docs": "for people",
    "quoting": "how a relation is spelled",
    "schema": "where rows are kept",
    "sort_by": "how rows are stored",
    "sorted_by": "how rows are stored",
    "static_analysis": "how dbt reads, not what it makes",
    "tags": "how a model is selected",
    "target_database": "where rows are kept",
    "target_schema": "where rows are kept",
}

#: Config keys that the definition of a node says already: beside its SQL, or as the columns of a seed.
DEFINED = {
    "batch_size",
    "begin",
    "check_cols",
    "column_types",
    "dbt_valid_to_current",
    "full_refresh",
    "hard_deletes",
    "incremental_predicates",
    "incremental_strategy",
    "invalidate_hard_deletes",
    "lookback",
    "merge_exclude_columns",
    "merge_update_columns",
    "strategy",
    "unique_key",
    "updated_at",
}

#: Our own dbt package.
_PACKAGE = "feature_warehouse"

_HOOKS = ("pre-hook", "post-hook")

#: What dbt makes of a model, where that alone does not change its rows: an incremental one says so by its later runs.
_PLAIN = ("ephemeral", "incremental", "seed", "snapshot", "table", "view")

#: Statements that change no row.
_NO_ROWS = re.compile(r"\s*(grant|revoke|comment|analyze|vacuum|checkpoint)\b[^;]*;?\s*$", re.IGNORECASE)

#: Macros of dbt whose words are judged by what they make: names of relations, and the compiled SQL.
_COMPILED = re.compile(r"(?:\w+__)?(?:generate_(?:schema|alias|database)_name\w*|ref|source|config)")

_VARIABLE = re.compile(r"""\bvar\(\s*['"](\w+)['"]""")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, order=True)
class Influence:
    """One of them. kind: config, hook, macro, run, variable or release. of: the node's name; "": of the project."""

    kind: str
    of: str
    name: str
    value: str

    @property
    def place(self) -> str:
        """'config sql_header of `stg_orders`'."""
        if self.kind == "config":
            return f"config {self.name} of `{self.of}`"
        if self.kind == "hook":
            return f"the {self.name} of `{self.of}`"
        if self.kind == "macro":
            return f"the macro {self.name}, which " + (f"`{self.of}` runs" if self.of else "stands in for dbt's own")
        return f"{self.name} of the project" if self.kind == "run" else f"the variable {self.name}"


class Influences:
    """Of the nodes of one parsed project; ``variables``: of the project, by name."""

    def __init__(self, manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        self._manifest, self._variables = manifest, variables
        self._macros: Mapping[str, Any] = manifest["macros"]
        self._adapter: str = manifest["metadata"].get("adapter_type") or "duckdb"
        self._own = {"dbt", f"dbt_{self._adapter}"}
        self._project = sorted(self._of_project())
        self._nodes: dict[str, list[Influence]] = {}

    def of(self, view: str, above: Mapping[str, str], latest: Mapping[str, str]) -> tuple[Influence, ...]:
        """``view``: its unique id. ``above``: it and all above it, unique id -> name in definitions; ``latest``: so its
        latest-value view. The types of the view's own contract are not among them: those of served columns are compared
        one by one."""
        found = set(self._project)
        for unique_id, name in {**above, **latest}.items():
            if unique_id not in self._nodes:
                self._nodes[unique_id] = list(self._of_node(unique_id, name, hooks=unique_id in latest))
            found.update(self._nodes[unique_id])
        own = above[view]
        return tuple(sorted(one for one in found if (one.kind, one.of, one.name) != ("config", own, "contract")))

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _of_node(self, unique_id: str, name: str, *, hooks: bool) -> Iterator[Influence]:
        """``hooks``: those of a model too, which a definition has for the models above a view."""
        node = self._manifest["nodes"].get(unique_id) or self._manifest["sources"][unique_id]
        config, kind = node["config"], node["resource_type"]
        usual = default_config(kind)
        for key, value in config.items():
            if key in HARMLESS or key in DEFINED or key in _HOOKS or value in (None, "", [], {}):
                continue
            if value == usual.get(key) or (key == "materialized" and value in _PLAIN):
                continue
            if key == "on_schema_change" and config.get("materialized") != "incremental":
                continue
            if key == "contract":
                if not value.get("enforced"):
                    continue
                value = {column["name"]: column.get("data_type") for column in node["columns"].values()}
            yield Influence("config", name, key, _text(value))
        if kind == "source":
            yield from _external(name, node)
        for hook in _HOOKS:
            written = [sql for each in config.get(hook) or () if not _NO_ROWS.match(sql := _sql(each))]
            if written and (hooks or kind == "seed"):
                yield Influence("hook", name, hook, _text([" ".join(sql.split()) for sql in written]))
            for sql in written:
                yield from self._called(name, sql, node)
        if (made := config.get("materialized") or "view") not in _PLAIN:
            for macro in self._macros.values():
                if macro["name"].startswith(f"materialization_{made}_") and macro["package_name"] not in self._own:
                    yield from self._reached(name, [macro["unique_id"]])

    # -- the project ---------------------------------------------------------------------------------------------------

    def _of_project(self) -> Iterator[Influence]:
        for package, release in releases(self._adapter).items():
            yield Influence("release", "", package, release)
        runs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for node in self._manifest["nodes"].values():
            if node["resource_type"] != "operation" or _NO_ROWS.match(node["raw_code"]):
                continue
            if node["package_name"] != _PACKAGE:  # ours write down what was built, and touch nothing else
                for tag in node["tags"]:
                    runs.setdefault((tag, node["package_name"]), []).append(node)
        for (tag, package), nodes in runs.items():
            own = package == self._manifest["metadata"]["project_name"]
            name = tag if own else f"{tag} of {package}"
            texts = [" ".join(node["raw_code"].split()) for node in sorted(nodes, key=lambda each: each["index"] or 0)]
            yield Influence("run", "", name, _text(texts))
            for node in nodes:
                yield from self._called(name, node["raw_code"], node)
        inner = {macro["name"] for macro in self._macros.values() if macro["package_name"] in self._inner()}
        for macro in self._macros.values():
            stands_in = re.sub(rf"^(?:default|{self._adapter})__", "", macro["name"])
            outer = macro["package_name"] not in self._inner()
            if outer and stands_in in inner and not _COMPILED.fullmatch(macro["name"]):
                yield from self._reached("", [macro["unique_id"]])

    def _inner(self) -> set[str]:
        return {*self._own, _PACKAGE}

    # -- macros and variables ------------------------------------------------------------------------------------------

    def _called(self, of: str, text: str, node: Mapping[str, Any]) -> Iterator[Influence]:
        """The macros that a text with Jinja calls, of those that its node depends on; all, where none is named."""
        yield from self._asked(text)
        if "{{" not in text and "{%" not in text:
            return
        known = [id_ for id_ in node.get("depends_on", {}).get("macros", ()) if id_ in self._macros]
        words = set(_WORD.findall(text))
        named = [id_ for id_ in known if self._macros[id_]["name"] in words]
        yield from self._reached(of, named or known)

    def _reached(self, of: str, macros: Iterable[str]) -> Iterator[Influence]:
        """The macros, and those that they call, of the project and its packages; dbt's own go by its release."""
        todo = list(macros)
        for id_ in todo:
            macro = self._macros.get(id_)
            if macro is None or macro["package_name"] in self._own:
                continue
            name = macro["name"] if macro["package_name"] == self._manifest["metadata"]["project_name"] else id_[6:]
            yield Influence("macro", of, name, _digest(macro["macro_sql"]))
            yield from self._asked(macro["macro_sql"])
            todo += [each for each in macro["depends_on"]["macros"] if each not in todo]

    def _asked(self, text: str) -> Iterator[Influence]:
        for name in set(_VARIABLE.findall(text)):
            if name in self._variables:
                yield Influence("variable", "", name, _text(self._variables[name]))


def changed(before: Iterable[Influence], now: Iterable[Influence]) -> list[str]:
    """What is another one now, a phrase each: 'config sql_header of `stg_orders`: none -> "..."'."""
    found = []
    for old, new in _changes(before, now):
        one = new or old
        if one is None:
            continue
        if one.kind in ("config", "variable"):
            found.append(f"{one.place}: {old.value if old else 'none'} -> {new.value if new else 'none'}")
        else:
            found.append(f"{one.place} {'changed' if old and new else 'came' if new else 'is gone'}")
    return found


def changed_nodes(before: Iterable[Influence], now: Iterable[Influence]) -> set[str]:
    """The nodes of which something is another one now; "": of the whole project."""
    return {one.of for pair in _changes(before, now) for one in pair if one is not None}


def _changes(
    before: Iterable[Influence], now: Iterable[Influence]
) -> Iterator[tuple[Influence | None, Influence | None]]:
    was, is_ = ({(one.kind, one.of, one.name): one for one in side} for side in (before, now))
    for key in sorted(was.keys() | is_.keys()):
        old, new = was.get(key), is_.get(key)
        kind, _, name = key
        if old == new or ((kind, name) == ("config", "contract") and _same_types(old, new)):
            continue
        if kind != "release":  # what dbt's own macros make, no words of ours can judge
            yield old, new


def _same_types(before: Influence | None, now: Influence | None) -> bool:
    """Whether two contracts give the columns that both have the same types. dbt holds the SQL to its contract, so that
    to enforce one, or to end that, changes nothing."""
    if before is None or now is None:
        return True
    was, is_ = json.loads(before.value), json.loads(now.value)
    return all(was[column] == is_[column] for column in was.keys() & is_.keys())


#: A text in quotes that may be a path: where a file lies is no part of what it means.
_PATH = re.compile(r"'[^']*[/.][^']*'")


def _external(name: str, source: Mapping[str, Any]) -> Iterator[Influence]:
    """How dbt-duckdb reads a source from files or by a plugin, without the places of the files."""
    said: dict[str, Any] = {}
    for meta in (source.get("source_meta"), source.get("meta"), source["config"].get("meta"), source["config"]):
        said |= {key: meta[key] for key in ("external_location", "formatter", "plugin") if meta and meta.get(key)}
    for key, value in said.items():
        text = str(value)
        if key == "external_location":
            text = _PATH.sub("'...'", text) if "(" in text else "'...'"
        yield Influence("config", name, key, _text(text))


def _sql(hook: Any) -> str:
    return str(hook["sql"]) if isinstance(hook, Mapping) else str(hook)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _digest(macro: str) -> str:
    return hashlib.sha256(" ".join(macro.split()).encode()).hexdigest()[:16]

"""What decides about a view's rows beside its SQL: configs, hooks, macros, runs' hooks and variables, node by node.

Everything in dbt's graph above a view counts, except what `HARMLESS` names with its reason: a config key that is not
dbt's default, a hook of a model, seed or snapshot, the macros that hooks and custom materialisations reach, macros
that stand in for dbt's own or that dbt finds by the name of a strategy, `on-run-start` and `on-run-end`, hooks of other
nodes that may reach the view, the variables that any of these asks for, and where a source is. A config key that nobody
has thought of counts, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feature_warehouse.project.dbt import default_config, releases
from feature_warehouse.project.elsewhere import HOOKS, hooks_of, runs_of, statements_elsewhere
from feature_warehouse.project.influence import Influence, as_json
from feature_warehouse.project.macros import Macros

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

#: What dbt makes of a model, where that alone does not change its rows: an incremental one says so by its later runs.
_PLAIN = ("ephemeral", "incremental", "seed", "snapshot", "table", "view")

#: Of dbt_project.yml: which macros dbt takes for its own, where several packages have one of that name.
DECIDING = (
    "dispatch",
    "require_batched_execution_for_custom_microbatch_strategy",
    "require_explicit_package_overrides_for_builtin_materializations",
)


_NOTHING: Mapping[str, Any] = {}


class Influences:
    """Of the nodes of one parsed project; ``variables``: of dbt_project.yml, by name; ``deciding``: what that says of
    `DECIDING`."""

    def __init__(
        self, manifest: Mapping[str, Any], variables: Mapping[str, Any], deciding: Mapping[str, Any] = _NOTHING
    ) -> None:
        self._manifest, self._deciding = manifest, deciding
        self._macros = Macros(manifest, variables)
        self._project = sorted(self._of_project())
        self._nodes: dict[str, list[Influence]] = {}
        self._elsewhere = list(statements_elsewhere(manifest, self._macros))

    def of(self, view: str, above: Mapping[str, str], latest: Mapping[str, str]) -> tuple[Influence, ...]:
        """``view``: its unique id. ``above``: it and all above it, unique id -> name in definitions; ``latest``: so its
        latest-value view. The types of the view's own contract are not among them: those of served columns are compared
        one by one."""
        found = set(self._project)
        for unique_id, name in {**above, **latest}.items():
            if unique_id not in self._nodes:
                self._nodes[unique_id] = list(self._of_node(unique_id, name, hooks=unique_id in latest))
            found.update(self._nodes[unique_id])
        names = {name.lower() for unique_id in (*above, *latest) for name in self._names(unique_id)}
        for one in self._elsewhere:
            if one.node not in above and one.node not in latest and one.reaches(names):
                found.update(one.found)
                found.update(influence for id_, influence in one.reads if id_ not in above)
        own = above[view]
        return tuple(sorted(one for one in found if (one.kind, one.of, one.name) != ("config", own, "contract")))

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _of_node(self, unique_id: str, name: str, *, hooks: bool) -> Iterator[Influence]:
        """``hooks``: those of a model too, which a definition has for the models above a view."""
        node = self._manifest["nodes"].get(unique_id) or self._manifest["sources"][unique_id]
        config, kind = node["config"], node["resource_type"]
        usual = default_config(kind)
        for key, value in config.items():
            if key in HARMLESS or key in DEFINED or key in HOOKS or value in (None, "", [], {}):
                continue
            if value == usual.get(key) or (key == "materialized" and value in _PLAIN):
                continue
            if key == "on_schema_change" and config.get("materialized") != "incremental":
                continue
            if key == "contract":
                if not value.get("enforced"):
                    continue
                if written := list(_constraints(node)):
                    yield Influence("config", name, "constraints", as_json(written))
                value = {column["name"]: column.get("data_type") for column in node["columns"].values()}
            yield Influence("config", name, key, as_json(value))
        if kind == "source":
            yield from _external(name, node)
            yield from _place(name, node)
        for hook in HOOKS:
            written = hooks_of(config, hook)
            if written and (hooks or kind == "seed"):
                yield Influence("hook", name, hook, as_json([" ".join(sql.split()) for sql in written]))
            for sql in written:
                yield from self._macros.called(name, sql, node)
        if (made := config.get("materialized") or "view") not in _PLAIN:
            yield from self._macros.materialization(name, made)
        yield from self._macros.named(name, _strategies(config))

    def _names(self, unique_id: str) -> Iterator[str]:
        """What SQL may call a node."""
        node = self._manifest["nodes"].get(unique_id) or self._manifest["sources"][unique_id]
        yield from (node[key] for key in ("name", "alias", "identifier") if node.get(key))

    # -- the project ---------------------------------------------------------------------------------------------------

    def _of_project(self) -> Iterator[Influence]:
        for package, release in releases(self._manifest["metadata"].get("adapter_type") or "duckdb").items():
            yield Influence("release", "", package, release)
        for name, nodes in runs_of(self._manifest).items():
            yield Influence("run", "", name, as_json([" ".join(node["raw_code"].split()) for node in nodes]))
            for node in nodes:
                yield from self._macros.called(name, node["raw_code"], node)
        for name, value in self._deciding.items():
            yield Influence("run", "", name, as_json(value))
        yield from self._macros.standing_in()


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
        yield Influence("config", name, key, as_json(text))


def _place(name: str, source: Mapping[str, Any]) -> Iterator[Influence]:
    """Where dbt finds a source, as it is written: another target may render it otherwise."""
    if "(" not in (source.get("relation_name") or "("):  # files are no place
        parts = source.get("unrendered_database"), source.get("unrendered_schema") or source["source_name"]
        yield Influence("place", name, "", as_json(".".join(part for part in parts if part)))


def _constraints(node: Mapping[str, Any]) -> Iterator[str]:
    """What a contract writes into the table beside names and types; the other constraints only refuse rows."""
    for owner in (node, *node["columns"].values()):
        for one in owner.get("constraints") or ():
            if one.get("type") == "custom":
                yield f"{owner['name']} {one.get('expression')}"


def _strategies(config: Mapping[str, Any]) -> Iterator[str]:
    """The macros that dbt finds by the name of a strategy, one of the project's own among them."""
    if strategy := config.get("incremental_strategy"):
        yield f"get_incremental_{str(strategy).replace('+', '_')}_sql"
    if strategy := config.get("strategy"):
        yield f"snapshot_{str(strategy).rpartition('.')[2]}_strategy"

"""Statements that run outside of a view's own graph and may reach into it: hooks of other nodes, and of whole runs.

A hook may write to any table, and set something for whatever runs on the same connection. So it counts for a view where
it names something of the view's graph, but where it can only read that; and with it, what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from feature_warehouse.project.influence import Influence, as_json, digest
from feature_warehouse.project.macros import PACKAGE, Macros

HOOKS = ("pre-hook", "post-hook")

#: Statements that change no row.
_NO_ROWS = re.compile(r"\s*(grant|revoke|comment|analyze|vacuum|checkpoint)\b[^;]*;?\s*$", re.IGNORECASE)

#: A statement that writes where it says, and reads the rest.
_WRITES = re.compile(
    r"""\s*(?:insert\s+(?:or\s+\w+\s+)?into|create\s+(?:or\s+replace\s+)?(?:temp\w*\s+)?(?:table|view)(?:\s+if\s+not\s+exists)?)
        \s+((?:\{\{.*?\}\}|[\w".`])+)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)

#: What holds for whatever runs on the same connection or database, whichever model's hook it is.
_FOR_ALL = re.compile(
    r"(?:^|;)\s*(?:set|reset|use|attach|detach|load|install)\b|\bpragma\b|\b(?:set|reset)\s+(?:global|session)\b"
    r"|\b(?:create\s+(?:or\s+replace\s+)?(?:temp\w*\s+)?|drop\s+)(?:macro|function|type)\b",
    re.IGNORECASE,
)

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Statements of one node, or of all runs (""). found: what they are; reads: what they read and all above that, by
    unique id. words: what they may write to, in small letters; None: they set something for all."""

    node: str
    words: frozenset[str] | None
    found: tuple[Influence, ...]
    reads: tuple[tuple[str, Influence], ...]

    def reaches(self, names: set[str]) -> bool:
        return self.words is None or not self.words.isdisjoint(names)


def hooks_of(config: Mapping[str, Any], hook: str) -> list[str]:
    """The SQL, with Jinja, of the hooks of one kind that could change a row."""
    written = (str(each["sql"] if isinstance(each, Mapping) else each) for each in config.get(hook) or ())
    return [sql for sql in written if not _NO_ROWS.match(sql)]


def runs_of(manifest: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The statements of `on-run-start` and `on-run-end` that could change a row, by what a person calls them."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] != "operation" or _NO_ROWS.match(node["raw_code"]):
            continue
        if node["package_name"] != PACKAGE:  # ours write down what was built, and touch nothing else
            own = node["package_name"] == manifest["metadata"]["project_name"]
            for tag in node["tags"]:
                runs.setdefault(tag if own else f"{tag} of {node['package_name']}", []).append(node)
    return {name: sorted(nodes, key=lambda node: node["index"] or 0) for name, nodes in runs.items()}


def statements_elsewhere(manifest: Mapping[str, Any], macros: Macros) -> Iterator[Elsewhere]:
    """Of each node with hooks or a header, as a view sees it that is not below it; and of runs, what they read."""
    for unique_id, node in manifest["nodes"].items():
        config, name = node["config"], _name(node)
        header = config.get("sql_header")
        for hook in (*HOOKS, "sql_header"):
            texts = hooks_of(config, hook) if hook in HOOKS else [str(header)] if header else []
            if texts:
                found = [Influence("elsewhere", name, hook, as_json([" ".join(sql.split()) for sql in texts]))]
                found += [one for sql in texts for one in macros.called(name, sql, node)]
                reads = tuple(_read(manifest, f"the {hook} of `{name}`", [unique_id]))
                yield Elsewhere(unique_id, _words(texts, node, macros), tuple(found), reads)
    for name, nodes in runs_of(manifest).items():
        for node in nodes:
            if reads := tuple(_read(manifest, name, node["depends_on"].get("nodes", ()))):
                yield Elsewhere("", _words([node["raw_code"]], node, macros), (), reads)


def _words(texts: list[str], node: Mapping[str, Any], macros: Macros) -> frozenset[str] | None:
    """Of statements and the macros that they call."""
    texts = [*texts, *(body for sql in texts for body in macros.bodies(sql, node))]
    if any(_FOR_ALL.search(text) for text in texts):
        return None
    return frozenset(word for text in texts for word in _written(text))


def _written(text: str) -> Iterator[str]:
    """The words of statements that may name what they write to, in small letters."""
    for statement in text.split(";"):
        target = _WRITES.match(statement)
        yield from (word.lower() for word in _WORD.findall(target[1] if target else statement))


def _read(manifest: Mapping[str, Any], by: str, unique_ids: Any) -> Iterator[tuple[str, Influence]]:
    """The nodes and all above them, by their words."""
    found = list(unique_ids)
    for id_ in found:
        node = manifest["nodes"].get(id_)
        if node is not None:
            yield id_, Influence("read", by, _name(node), digest(node.get("raw_code") or ""))
            found += [one for one in node.get("depends_on", {}).get("nodes", ()) if one not in found]


def _name(node: Mapping[str, Any]) -> str:
    return str(node["name"]) + ("" if node.get("version") is None else f"_v{node['version']}")

"""What models ask of the run that compiles them: the target, the environment, the moment.

Such SQL is another one in another target, on another machine or at another time, so that the one which is judged need
not be the one that makes the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_JINJA = re.compile(r"\{#.*?#\}|(\{\{.*?\}\}|\{%.*?%\})", re.DOTALL)

#: In Jinja. The type of a target is its adapter, which one project has one of.
_ASKED = re.compile(
    r"""\btarget\s*\.\s*(?!type\b|get\b)\w+|\btarget\s*(?:\[|\.get\()|\benv_var\(\s*(['"])\w+\1"""
    r"|\b(?:run_started_at|invocation_id|modules\.datetime)\b"
)


def asked_of_the_run(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By unique id, of models and snapshots that ask: 'target.name', "env_var('RATE')", as they are written.

    An ephemeral model's are those of its readers, too, and a macro's those of whatever calls it; dbt's macros and ours
    ask the target where the database wants it.
    """
    nodes, macros = manifest["nodes"], manifest["macros"]
    own = {"dbt", f"dbt_{manifest['metadata'].get('adapter_type') or 'duckdb'}", "feature_warehouse"}
    known: dict[str, tuple[str, ...]] = {}

    def of_macros(ids: list[str]) -> Iterator[str]:
        todo = list(ids)
        for id_ in todo:
            macro = macros.get(id_)
            if macro is not None and macro["package_name"] not in own:
                yield from _asked(macro["macro_sql"])
                todo += [one for one in macro["depends_on"]["macros"] if one not in todo]

    def of_node(id_: str) -> tuple[str, ...]:
        if id_ not in known:
            node = nodes[id_]
            found = [*_asked(node.get("raw_code") or ""), *of_macros(node["depends_on"].get("macros", []))]
            for above in node["depends_on"].get("nodes", ()):
                if nodes.get(above, {}).get("config", {}).get("materialized") == "ephemeral":
                    found += of_node(above)
            known[id_] = tuple(dict.fromkeys(found))
        return known[id_]

    models = [id_ for id_, node in nodes.items() if node["resource_type"] in ("model", "snapshot")]
    return {id_: found for id_ in models if (found := of_node(id_))}


def _asked(text: str) -> Iterator[str]:
    for block in _JINJA.finditer(text):
        for found in _ASKED.finditer(block[1] or ""):
            yield "".join(found[0].split()) + (")" if found[1] else "")

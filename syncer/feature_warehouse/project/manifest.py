"""dbt's manifest as a file: reading it, and whether it still speaks of this project and this target.

Knows dbt's manifest (schema v12: nodes, versions, exposures). Reads no profile and calls no dbt. What the project
declares for us in it, `declarations` knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_warehouse.errors import ProjectError, RequestError, StaleManifestError, closest
from feature_warehouse.registry.feature import view_id

#: The parts of a manifest that are read here.
_SECTIONS = {"metadata", "nodes", "exposures", "macros", "disabled"}


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest as dbt wrote it. Raises ProjectError when it is missing or is none."""
    try:
        manifest: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ProjectError(f"there is no manifest at {path}", "run `dbt parse` or `dbt build` in the project") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} is not a manifest: {error}", "run `dbt parse` to write it anew") from error
    complete = isinstance(manifest, dict) and manifest.keys() >= _SECTIONS
    if not complete or "generated_at" not in manifest["metadata"]:
        raise ProjectError(f"{path} is not a manifest of dbt", "run `dbt parse` to write it anew")
    return dict(manifest)


def find_relation(manifest: Mapping[str, Any], model: str) -> str:
    """The relation of a model, seed or snapshot, by name: 'departures', or 'departures.v2' where it has versions.

    Without its version the latest is meant, as in ``ref``. Raises RequestError.
    """
    found: dict[str, str | None] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] in ("model", "seed", "snapshot"):
            if node.get("version") in (None, node.get("latest_version")):
                found[node["name"]] = node["relation_name"]
            if node.get("version") is not None:
                found[f"{node['name']}.v{node['version']}"] = node["relation_name"]
    if model not in found:
        raise RequestError(
            f"there is no model '{model}' in the project", closest(model, found, "SQL has more than one word; models")
        )
    relation = found[model]
    if relation is None:
        raise RequestError(f"the model '{model}' is ephemeral, so the warehouse does not have it", "make it a view")
    return relation


def keeps_rows_above(manifest: Mapping[str, Any], unique_ids: Iterable[str]) -> bool:
    """Whether one of the nodes, or something above them, keeps rows of earlier runs."""
    found = list(unique_ids)
    known = set(found)
    for id_ in found:
        node = manifest["nodes"].get(id_, {})
        if node.get("config", {}).get("materialized") in ("incremental", "snapshot"):
            return True
        above = [each for each in node.get("depends_on", {}).get("nodes", ()) if each not in known]
        known.update(above)
        found += above
    return False


def check_fresh(manifest: dict[str, Any], folder: Path, source_paths: Iterable[Path], parsed: Path) -> None:
    """Raises StaleManifestError, naming a file, when the project in ``folder`` has changed since the manifest was made.

    A file that is newer than the manifest has changed when its text has, by the checksums that dbt keeps: of models in
    the manifest, of all files in ``parsed``, its partial_parse.msgpack. Of what is in neither, the time decides.
    """
    made = _instant(manifest["metadata"]["generated_at"])
    project = manifest["metadata"]["project_name"]
    sections = [*(manifest[name].values() for name in ("nodes", "exposures", "macros")), *manifest["disabled"].values()]
    nodes = [node for section in sections for node in section if node["package_name"] == project]
    for path in sorted({path for node in nodes for path in (node["original_file_path"], yaml_path(node))}):
        if not (folder / path).exists():
            raise _stale(path, "is gone")
    known = {
        node["original_file_path"]: node["checksum"]["checksum"] for node in nodes if node["resource_type"] == "model"
    }
    files = [folder / _PROJECT]
    for root in source_paths:
        files += (file for file in root.rglob("*") if file.suffix in (".sql", ".py", ".yml", ".yaml"))
    newer = [file for file in sorted(files) if file.is_file() and file.stat().st_mtime > made.timestamp()]
    if any(str(file.relative_to(folder)) not in known for file in newer):
        known |= _parsed_checksums(parsed, project, made)
    for file in newer:
        path = str(file.relative_to(folder))
        if known.get(path) not in _dbt_checksums(file):
            raise _stale(path, "has changed")


_PROJECT = "dbt_project.yml"


def _parsed_checksums(path: Path, project: str, made: datetime) -> dict[str, str]:
    """{file: its checksum} of dbt's last parse, as long as that is not later than a manifest made at ``made``.

    dbt writes this file anew whenever a file has changed, and keeps it while none has. {} where it is not to be had.
    """
    try:
        import msgpack  # type: ignore[import-untyped]  # comes with dbt

        content = msgpack.unpackb(path.read_bytes(), raw=False, strict_map_key=False)
        if _instant(content["metadata"]["generated_at"]) > made:
            return {}
        own = f"{project}://"
        found = {
            id_.removeprefix(own): file["checksum"] for id_, file in content["files"].items() if id_.startswith(own)
        }
        found[_PROJECT] = content["state_check"]["project_hashes"][project]
        return {file: str(checksum["checksum"]) for file, checksum in found.items()}
    except (ImportError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def check_target(manifest: dict[str, Any], target: str, catalog: str, schema: str) -> None:
    """Raises ProjectError when the manifest was made for another target: its relations are then elsewhere."""
    for node in in_order(manifest["nodes"].values()):
        if "feature_view" not in node["config"].get("meta", {}):
            continue
        # A schema of the model's own stands after the target's; alone, or not at all but in production, where a project
        # overrides dbt's macro for it (generate_schema_name_for_env).
        own_catalog, own_schema = node["config"].get("database"), node["config"].get("schema")
        schemas = {schema, own_schema, f"{schema}_{own_schema}"} if own_schema else {schema}
        if node["database"] != (own_catalog or catalog) or node["schema"] not in schemas:
            raise ProjectError(
                f"the manifest was made for another target: {view_id(node['name'], node['version'])} is "
                f'{node["relation_name"]}, but the target \'{target}\' means "{catalog}"."{schema}"',
                f"run `dbt parse --target {target}`, then try again",
            )


def _stale(path: str, what: str) -> StaleManifestError:
    return StaleManifestError(
        f"the manifest is older than the project: {path} {what}", "run `dbt parse` or `dbt build`, then try again"
    )


def _dbt_checksums(file: Path) -> set[str]:
    """What dbt may keep of a file: of most it leaves out the blanks around the text."""
    text = file.read_bytes().decode(errors="replace")
    return {hashlib.sha256(each.encode()).hexdigest() for each in (text, text.strip())}


def yaml_path(node: dict[str, Any]) -> str:
    path: str = node.get("patch_path") or node["original_file_path"]
    return path.split("://")[-1]


def in_order(nodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By file and name: dbt lists them as the file system does, differently from machine to machine."""
    return sorted(nodes, key=lambda node: (yaml_path(node), node["unique_id"]))


def place_of(node: dict[str, Any]) -> str:
    name = node["name"] if node.get("version") is None else view_id(node["name"], node["version"])
    return f"{yaml_path(node)}: {name}"

"""What the manifest says for people: descriptions, definitions, owners, and which model is made from which.

Knows dbt's manifest (schema v12), like ``declarations``; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from feature_warehouse.registry.feature import view_id

#: What may stand upstream of a feature view.
_KINDS = ("model", "seed", "source", "snapshot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One model, seed, source or snapshot."""

    unique_id: str
    name: str  # of a version of a model: carrier_delays.v2
    kind: str
    path: str
    description: str
    sql: str  # as it is written, with its Jinja; "" where there is none
    columns: Mapping[str, str]  # name -> description
    parents: tuple[str, ...]  # unique ids
    relation: str | None  # where it is in the warehouse, quoted
    drift: Literal["reference", "profile"] | None  # what drift table it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """The exposure behind a feature service: who reads it, and whom to ask."""

    name: str
    label: str
    description: str
    owner: str
    email: str
    url: str
    maturity: str


def read_relations(manifest: Mapping[str, Any]) -> dict[str, Relation]:
    """By unique id."""
    nodes = [*manifest["nodes"].values(), *manifest.get("sources", {}).values()]
    return {node["unique_id"]: _relation(node) for node in nodes if node["resource_type"] in _KINDS}


def read_consumers(manifest: Mapping[str, Any]) -> dict[str, Consumer]:
    """By service id: departure_delay@2."""
    found = {}
    for exposure in manifest["exposures"].values():
        service = exposure["config"].get("meta", {}).get("feature_service")
        if isinstance(service, dict) and {"name", "version"} <= service.keys():
            owner = exposure.get("owner") or {}
            email = owner.get("email") or ""
            found[f"{service['name']}@{service['version']}"] = Consumer(
                name=exposure["name"],
                label=exposure.get("label") or exposure["name"],
                description=(exposure.get("description") or "").strip(),
                owner=owner.get("name") or "",
                email=email if isinstance(email, str) else ", ".join(email),
                url=exposure.get("url") or "",
                maturity=exposure.get("maturity") or "",
            )
    return found


def upstream(relations: Mapping[str, Relation], unique_id: str) -> list[list[Relation]]:
    """What a model is made from, in layers: those of one layer read only from layers before it; its parents last."""
    depth: dict[str, int] = {}

    def visit(each: str, distance: int) -> None:
        for parent in relations[each].parents:
            if parent in relations and depth.get(parent, 0) < distance:
                depth[parent] = distance
                visit(parent, distance + 1)

    visit(unique_id, 1)
    layers: dict[int, list[Relation]] = {}
    for each, distance in depth.items():
        layers.setdefault(distance, []).append(relations[each])
    return [sorted(layers[distance], key=lambda relation: relation.name) for distance in sorted(layers, reverse=True)]


def drift_tables(relations: Mapping[str, Relation]) -> Iterator[tuple[str, str]]:
    """(profile, its reference) of each drift profile that the project has: where both are, quoted."""
    for each in relations.values():
        references = [relations[parent] for parent in each.parents if parent in relations]
        for reference in references:
            if each.drift == "profile" and reference.drift == "reference" and each.relation and reference.relation:
                yield each.relation, reference.relation


def _relation(node: Mapping[str, Any]) -> Relation:
    drift = node["config"].get("meta", {}).get("drift")
    name = node["name"] if node.get("version") is None else view_id(node["name"], node["version"])
    return Relation(
        unique_id=node["unique_id"],
        name=f"{node['source_name']}.{node['name']}" if node["resource_type"] == "source" else name,
        kind=node["resource_type"],
        path=node["original_file_path"],
        description=(node.get("description") or "").strip(),
        sql=(node.get("raw_code") or "").strip(),
        columns={column["name"]: (column["description"] or "").strip() for column in node["columns"].values()},
        parents=tuple(dict.fromkeys(node.get("depends_on", {}).get("nodes", ()))),
        relation=node.get("relation_name"),
        drift=drift if drift in ("reference", "profile") else None,
    )

"""`syncer lineage`: where a feature comes from and who reads it, as a tree, as JSON or as a Mermaid diagram."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.options import json_option, namespace_option, project_options
from feature_warehouse.cli.output import print_json, say_error
from feature_warehouse.errors import RequestError
from feature_warehouse.project.project import ProjectOptions

if TYPE_CHECKING:
    from feature_warehouse.gate.lineage import Lineage, Step


@click.command()
@click.argument("name", required=False)
@project_options
@namespace_option
@click.option("--to-models", metavar="COLUMN", help="Begin at a source's column instead: SOURCE.COLUMN.")
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart.")
@json_option
def lineage(
    name: str | None,
    project: ProjectOptions,
    namespace: str | None,
    to_models: str | None,
    mermaid: bool,
    as_json: bool,
) -> None:
    """Show where a feature comes from and who reads it.

    Column of a source, feature, field in Redis, service, model. NAME is a feature
    (`carrier_delays.v2.delay_rate_7d`), a feature view version or a feature service.

    \b
    Example:
      syncer lineage carrier_delays.v2.delay_rate_7d
    """
    if (name is None) == (to_models is None):
        raise click.UsageError("name a feature, or a column with --to-models")
    if mermaid and as_json:
        raise click.UsageError("--mermaid or --json, not both")
    from feature_warehouse.gate.lineage import project_lineage

    found = project_lineage(project, namespace)
    for problem in found.problems:
        say_error(problem)
    whole = found.lineage
    roots = whole.named(name) if name is not None else [whole.column(to_models or "")]
    part = whole.around(roots)
    if as_json:
        steps = [{"id": step.id, "kind": step.kind, **step.about} for step in part.steps.values()]
        edges = [
            {"from": above, "to": below, **({"by": how} if how else {})} for (above, below), how in part.edges.items()
        ]
        print_json({"steps": steps, "edges": edges})
    elif mermaid:
        for line in _flowchart(part):
            click.echo(line)
    else:
        for root in roots:
            for line in _drawn(_tree(part, part.steps[root]), plain=not sys.stdout.isatty()):
                click.echo(line)
    if found.problems:
        raise RequestError("what is wrong above is left out of this", "mend it, and ask again")


# --- as text ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tree:
    text: str
    children: list[_Tree] = field(default_factory=list)


def _tree(part: Lineage, step: Step) -> _Tree:
    """Downwards from a column; from a feature or a service in both directions."""
    if step.kind == "column":
        return _down(part, step)
    if step.kind == "service":
        features = {
            above.id: above
            for field_ in part.steps.values()
            if field_.kind == "field"
            for above in part.above(field_.id)
        }
        computed = [_Tree(_text(each)) for each in part.above(step.id) if each.kind == "on_demand"]
        read = [_Tree(_text(each), _origin(part, each)) for each in features.values()]
        return _Tree(_text(step), [*read, *computed, *_children(part, step)])
    return _Tree(_text(step), [*_origin(part, step), *_children(part, step)])


def _down(part: Lineage, step: Step) -> _Tree:
    return _Tree(_text(step), _children(part, step))


def _children(part: Lineage, step: Step) -> list[_Tree]:
    return [_down(part, below) for below in part.below(step.id)]


def _origin(part: Lineage, feature: Step) -> list[_Tree]:
    """The columns that a feature comes from, a line for each source."""
    lines = []
    for how, words in (("value", "from"), ("rows", "rows by")):
        columns: dict[str, list[str]] = {}
        for step in part.above(feature.id, how):
            source = str(step.about["source"])
            columns.setdefault(source, []).append(step.id.removeprefix(f"{source}."))
        lines += [_Tree(f"{words} {source}: {', '.join(names)}") for source, names in columns.items()]
    return lines


def _text(step: Step) -> str:
    about = step.about
    if step.kind == "feature":
        return ", ".join([f"{step.id}: {about['type']}", *_look_back(step)])
    if step.kind == "field":
        number = f"field {about['number']}" if about["number"] else "no field yet"
        return f"{about['key']} {about['field']}, {number}"
    if step.kind == "on_demand":
        return f"{step.id}, on demand: {about['expression']}"
    if step.kind == "model":
        owner = ", ".join(str(part) for part in (about["owner"], about["email"]) if part)
        return f"{step.id} ({owner or 'no owner'})"
    return step.id


def _look_back(feature: Step) -> Iterator[str]:
    span, because = feature.about.get("look_back"), feature.about.get("because")
    if span in ("unbounded", "unknown"):
        assert isinstance(because, list)
        yield f"{'looks back without end' if span == 'unbounded' else 'look-back unknown'} ({'; '.join(because)})"
    elif span:
        yield f"looks back {span}"


def _drawn(tree: _Tree, *, plain: bool, before: str = "", here: str = "") -> Iterator[str]:
    """plain: indented alone, without the lines of a tree."""
    yield here + tree.text
    for child in tree.children:
        last = child is tree.children[-1]
        branch, rest = ("  ", "  ") if plain else ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _drawn(child, plain=plain, before=before + rest, here=before + branch)


# --- as a diagram -----------------------------------------------------------------------------------------------------

_SHAPES = {
    "column": "{}[{}]",
    "feature": "{}([{}])",
    "field": "{}[({})]",
    "on_demand": "{}([{}])",
    "service": "{}{{{{{}}}}}",
    "model": "{}(({}))",
}


def _flowchart(part: Lineage) -> Iterator[str]:
    names = {id_: f"s{number}" for number, id_ in enumerate(part.steps)}
    yield "flowchart LR"
    for id_, step in part.steps.items():
        label = _text(step) if step.kind in ("field", "model") else step.id
        yield "    " + _SHAPES[step.kind].format(names[id_], '"' + _escaped(label) + '"')
    for (above, below), how in part.edges.items():
        yield f"    {names[above]} {'-.->' if how == 'rows' else '-->'} {names[below]}"


def _escaped(label: str) -> str:
    """Mermaid reads entities in quotes, and nothing else of HTML."""
    return label.replace("&", "&amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")

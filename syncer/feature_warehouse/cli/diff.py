"""`syncer diff`: what a change makes of what is served, in Markdown for the pull request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.options import project_options
from feature_warehouse.cli.process import uncollected
from feature_warehouse.project.project import ProjectOptions

if TYPE_CHECKING:
    from feature_warehouse.gate.comparison import Comparison


@click.command()
@click.argument("base")
@project_options
@uncollected()
def diff(base: str, project: ProjectOptions) -> None:
    """Say what a change does to models, in Markdown.

    Classes of change, models to train anew, online bytes. BASE is the branch or commit that the change is merged into.

    \b
    Example:
      syncer diff origin/main
    """
    from feature_warehouse.gate.comparison import compare
    from feature_warehouse.gate.proposal import load_proposal

    comparison = compare(load_proposal(project), base)
    for line in _markdown(comparison, base):
        click.echo(line)


def _markdown(comparison: Comparison, base: str) -> Iterator[str]:
    yield f"### Features, compared with `{base}`"
    yield ""
    if not comparison.features and not comparison.others:
        yield "Nothing changes in what is served."
        return
    yield f"{_counted(comparison)}."
    if comparison.retrain:
        yield ""
        yield f"**To train anew:** {', '.join(comparison.retrain)}."
    for one in comparison.rebuild:
        yield ""
        yield f"**To build anew, in each target:** {_cell(one.remedy)} ({_cell(one.view)}: {', '.join(one.features)})."
    if comparison.features:
        yield ""
        yield "| feature view | features | change | why |"
        yield "|---|---|---|---|"
        for (view, kind, reasons), names in _grouped(comparison).items():
            yield _row(view, ", ".join(names), kind, "<br>".join(map(_cell, reasons)))
    if comparison.alike:
        yield ""
        yield from (f"- {_cell(str(one))}." for one in comparison.alike)
    if comparison.others:
        yield ""
        yield from (f"- {_cell(other)}" for other in comparison.others)
    yield ""
    moved = {entity: sizes for entity, sizes in comparison.bytes.items() if sizes[0] != sizes[1]}
    if not moved:
        yield "Bytes in Redis: as before."
    else:
        yield "| entity | bytes in Redis each, before | after | |"
        yield "|---|---:|---:|---:|"
        for entity, (before, after) in moved.items():
            yield _row(entity, f"{before:,}", f"{after:,}", f"{after - before:+,}")
    for view, text in comparison.diffs.items():
        yield from ("", f"<details><summary>SQL of {view}</summary>", "", "```diff", text, "```", "", "</details>")


def _grouped(comparison: Comparison) -> dict[tuple[str, str, tuple[str, ...]], list[str]]:
    """The features of one row: of one view, with one change for one reason."""
    rows: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for change in comparison.features:
        kind = f"**{change.kind}**" if change.kind in _BREAKING else change.kind
        rows.setdefault((change.view, kind, change.reasons), []).append(change.feature)
    return rows


_BREAKING = ("value change", "schema break", "gone")


def _counted(comparison: Comparison) -> str:
    """'1 value change, 2 refactors; 1 other change'."""
    kinds = [change.kind for change in comparison.features]
    counts = [
        f"{kinds.count(kind)} {kind}" + "s" * (kinds.count(kind) != 1 and kind in _PLURAL)
        for kind in _ORDER
        if kind in kinds
    ]
    if comparison.others:
        counts.append(f"{len(comparison.others)} other change{'s' * (len(comparison.others) != 1)}")
    return ", ".join(counts)


_PLURAL = ("schema break", "value change", "refactor")
_ORDER = ("schema break", "value change", "gone", "new", "additive", "refactor")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """A text that ends no cell and opens no HTML."""
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")

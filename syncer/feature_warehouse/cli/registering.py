"""`syncer register` and `syncer check`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.options import against_option, json_option, project_options
from feature_warehouse.cli.output import counted, print_json, rebuild_json, say_error, shown
from feature_warehouse.cli.process import uncollected
from feature_warehouse.errors import RefusedError, SyncerError, ValueChangeError
from feature_warehouse.project.project import ProjectOptions

if TYPE_CHECKING:
    from feature_warehouse.gate.proof import Proof
    from feature_warehouse.gate.review import Unjudged


@click.command()
@project_options
@against_option
@click.option("--accept-fix", metavar="REASON", help="Take other values of served features, for this reason.")
@click.option(
    "--accept-unjudged",
    metavar="REASON",
    help="Serve what cannot be judged, for this reason, and warn no more of it.",
)
@click.option(
    "--accept-unbuilt",
    metavar="REASON",
    help="Serve features whose older rows are of an earlier definition, for this reason.",
)
@json_option
@uncollected()
def register(
    project: ProjectOptions,
    against: str | None,
    accept_fix: str | None,
    accept_unjudged: str | None,
    accept_unbuilt: str | None,
    as_json: bool,
) -> None:
    """Take what the project says now into its registry. Writes registry/.

    \b
    Example:
      syncer register
    """
    from feature_warehouse.gate.gate import register_project
    from feature_warehouse.gate.proposal import load_proposal

    proposal = load_proposal(project)
    try:
        done = register_project(
            proposal,
            against=against,
            accept_fix=accept_fix,
            accept_unjudged=accept_unjudged,
            accept_unbuilt=accept_unbuilt,
        )
    except RefusedError as refused:
        _say(refused.problems, as_json)
        sys.exit(1)
    if as_json:
        print_json(
            {
                "changes": done.changes,
                "retrain": done.retrain,
                "rebuild": rebuild_json(done.rebuild),
                "alike": [asdict(one) for one in done.alike],
                "views": list(done.registry.views),
                "services": list(done.registry.services),
            }
        )
        return
    for change in done.changes:
        click.echo(change)
    if done.retrain:
        click.echo(f"To train anew: {', '.join(done.retrain)}.")
    for alike in done.alike:
        click.echo(f"{alike}.")
    for one in done.rebuild:
        say_error(one.warning, "Warning")
    if any((accept_fix, accept_unjudged, accept_unbuilt)) and not done.by:
        say_error(
            SyncerError("who accepts this is not known, and so not recorded", 'git config user.name "Your Name"'),
            "Warning",
        )
    if not done.changes:
        click.echo("The registry already says what the project declares.")
    else:
        click.echo(f"Written to {shown(proposal.project.registry_path.parent)}/: review and commit it.")


@click.command()
@project_options
@against_option
@click.option("--data", is_flag=True, help="Compute accepted and new SQL on the warehouse and compare the rows.")
@click.option("--github", is_flag=True, help="Print annotations for a pull request on GitHub, too.")
@json_option
@uncollected()
def check(
    project: ProjectOptions,
    against: str | None,
    data: bool,
    github: bool,
    as_json: bool,
) -> None:
    """Compare what the project says with what was accepted. For CI: exit code 1 when something is wrong.

    \b
    Example:
      syncer check --against origin/main
    """
    from feature_warehouse.cli.annotations import annotation
    from feature_warehouse.gate.gate import check_project, prove_by_data
    from feature_warehouse.gate.proposal import load_proposal

    proposal = load_proposal(project)
    checked = check_project(proposal, against=against)
    proofs = prove_by_data(proposal, checked) if data else []
    warnings = [*checked.warnings, *(one.warning for one in checked.rebuild)]
    if as_json:
        print_json(
            {
                "problems": list(map(_json, checked.problems)),
                "warnings": list(map(_json, checked.warnings)),
                "rebuild": rebuild_json(checked.rebuild),
                "notes": checked.notes,
                "judged": checked.judged,
                "not_judged": [asdict(one) for one in checked.unjudged],
                **({"data": [asdict(proof) for proof in proofs]} if data else {}),
            }
        )
    else:
        for warning in warnings:
            say_error(warning, "Warning")
        _say(checked.problems, as_json)
        for line in [*(line for proof in proofs for line in _proof_lines(proof)), *checked.notes]:
            click.echo(line)
        if data and not proofs:
            click.echo("No served view has other SQL, so there is no data to compare.")
        for kind, found in (("error", checked.problems), ("warning", warnings)) if github else ():
            for one in found:
                click.echo(annotation(one, kind, proposal))
        if not checked.problems:
            views, services = len(proposal.declarations.views), len(proposal.declarations.services)
            agrees = f"The registry agrees: feature view versions {views}, service versions {services}"
            click.echo(f"{agrees}; judged: {counted(checked.judged, 'feature')}{_not_judged(checked.unjudged)}.")
    sys.exit(1 if checked.problems else 0)


def _not_judged(unjudged: Sequence[Unjudged]) -> str:
    """'; not judged: 2, because orders.v1: `stg` reads ... (the reason)'"""
    if not unjudged:
        return ""
    features = {feature for one in unjudged for feature in one.features}
    why = "; ".join(f"{one.what} ({one.reason})" for one in unjudged)
    return f"; not judged: {len(features)}, because {why}"


def _proof_lines(proof: Proof) -> Iterator[str]:
    if proof.same:
        yield f"{proof.view} on the warehouse: {counted(proof.now, 'row')}, all as before."
        return
    yield (
        f"{proof.view} on the warehouse: {counted(proof.before, 'row')} before, {proof.now:,} now; "
        f"{proof.gone:,} gone, {proof.new:,} new."
    )
    for different in proof.features:
        if different.rows:
            largest = f", by up to {different.largest:g}" if different.largest is not None else ""
            yield f"  {different.feature}: other values in {counted(different.rows, 'row')}{largest}"


def _say(problems: Iterable[SyncerError], as_json: bool) -> None:
    """All problems, each with what a person wants to read below it."""
    if as_json:
        print_json({"problems": list(map(_json, problems))})
        return
    for problem in problems:
        say_error(problem)
        if isinstance(problem, ValueChangeError):
            click.echo(f"To train anew: {', '.join(problem.retrain) or 'nobody'}.", err=True)
            if problem.diff:
                click.echo(f"\n{problem.diff}\n", err=True)


def _json(problem: SyncerError) -> dict[str, object]:
    more = {"retrain": problem.retrain, "diff": problem.diff} if isinstance(problem, ValueChangeError) else {}
    return {"message": problem.message, "hint": problem.hint, **more}

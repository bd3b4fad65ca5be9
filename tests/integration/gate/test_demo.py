"""The demo before its gate: unchanged, it is one line; one more feature in each of its views concerns no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_warehouse.gate.accepted import accepted_here
from feature_warehouse.gate.gate import check_project
from feature_warehouse.gate.judging import judgements
from feature_warehouse.gate.proposal import load_proposal
from feature_warehouse.project.project import ProjectOptions
from tests.support.clone import Clone
from tests.support.shop import inside

GROUPED = ("airport_departure_hours_v1", "carrier_delays_v1", "carrier_delays_v2", "route_history_v1")
# of a window that is there: another one ends at more instants, from which the ttl of this view counts
BY_MACRO = """
        {"name": "one_more", "aggregate": "max", "column": "departure_delay_minutes", "window": "60 minutes"},
    ],
) }}"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("gate") / "clone")


def test_checking_the_unchanged_demo_is_one_line(clone: Clone) -> None:
    checked = clone.try_syncer("check")
    assert checked.exit_code == 0
    assert checked.stdout == (
        "The registry agrees: feature view versions 9, service versions 3; judged: 28 features.\n"
    )
    # a version that somebody reads and that will be given up is the one thing to do
    assert [line for line in checked.stderr.splitlines() if line.startswith("Warning")] == [
        "Warning: carrier_delays.v1 will be given up on 2027-06-30, and departure_delay@1 reads it"
    ]


def add_by_hand(text: str, expression: str) -> str:
    assert "as event_at,\n" in text
    return text.replace("as event_at,\n", f"as event_at,\n            {expression} as one_more,\n")


def test_one_more_feature_in_each_view_is_additive(clone: Clone) -> None:
    views = sorted(path.stem for path in (clone.folder / "models" / "features").glob("*.sql"))
    for name in views:
        path = Path("models/features") / f"{name}.sql"
        text = (clone.folder / path).read_text()
        if "rolling_features(" in text:
            assert text.rstrip().endswith("\n    ],\n) }}")
            text = text.rstrip().removesuffix("\n    ],\n) }}") + BY_MACRO
        else:
            text = add_by_hand(text, "count(*)::double" if name in GROUPED else "1.5::double")
        clone.write(str(path), text)
    for yaml in (clone.folder / "models" / "features").glob("*.yml"):
        declared = "    columns:\n      - {name: one_more, data_type: double}\n"
        clone.write(f"models/features/{yaml.name}", yaml.read_text().replace("    columns:\n", declared, 1))
    with inside(clone.folder):
        proposal = load_proposal(ProjectOptions())
        accepted = accepted_here(clone.folder, proposal.declarations.project)
        checked = check_project(proposal, against=None)
    judged = judgements(accepted, proposal.definitions, proposal.settings)
    assert sorted(one.view for one in judged) == [name.replace("_v", ".v") for name in views]
    changed = [(one.view, change) for one in judged for change in one.changes if change.kind != "refactor"]
    assert changed == []
    assert not [change for one in judged for change in one.changes if change.as_text]
    assert checked.problems == ()
    assert all("one_more" in view.view.features for view in proposal.definitions.definitions.values())

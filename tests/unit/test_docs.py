"""The documentation is whole: links lead somewhere; every macro, command, setting and error is on its page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dbt.clients.yaml_helper import load_yaml_text

from feature_warehouse import errors
from feature_warehouse.project.settings import SETTINGS
from tests.support import cli_reference
from tests.support.pages import Page

ROOT = Path(__file__).parents[2]
OF_FOLDERS = [ROOT / folder / "README.md" for folder in ("integration_tests", "seeds")]
PAGES = sorted([*ROOT.glob("*.md"), *OF_FOLDERS, *(ROOT / "docs").rglob("*.md")])


def path_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without its fenced and indented blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What `#...` may name on a page: its headings, lower case, without punctuation, with hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = ROOT / "docs" / "README.md"
    linked = {(contents.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", prose(contents))}
    assert {path for path in PAGES if path.is_relative_to(contents.parent)} - linked == {contents}


def test_the_architecture_has_every_room() -> None:
    rooms = set(re.findall(r"^\| `([\w/.]+)` \|", prose(ARCHITECTURE), re.MULTILINE))
    wings = (path for path in (ROOT / "syncer" / "feature_warehouse").iterdir() if not path.name.startswith("__"))
    assert {f"{path.name}/" if path.is_dir() else path.name for path in wings} - {"py.typed"} <= rooms
    tracked = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    made = {"target", "dbt_packages", "logs", "build", "dist", "macros"}  # macros: by its folders
    assert tracked - made <= rooms
    assert {f"macros/{path.name}" for path in (ROOT / "macros").iterdir() if path.is_dir()} <= rooms


ARCHITECTURE = ROOT / "docs" / "architecture.md"

# --- macros -----------------------------------------------------------------------------------------------------------


def public_macros() -> list[Any]:
    """The file of each macro and generic test that users call: those named like their file."""
    return [
        pytest.param(path, id=path.stem)
        for path in sorted((ROOT / "macros").rglob("[!_]*.sql"))
        if re.search(rf"{{% (?:macro|test) {path.stem}\(", path.read_text(encoding="utf-8"))
    ]


def properties(path: Path) -> dict[str, Any]:
    """The YAML of one macro, from the file beside it."""
    name = f"test_{path.stem}" if path.parent.name == "generic_tests" else path.stem
    described = load_yaml_text(path.with_suffix(".yml").read_text(encoding="utf-8")) or {}
    (own,) = [macro for macro in described["macros"] if macro["name"] == name]
    return own


def test_the_public_macros_are_found() -> None:
    assert {"point_in_time_join", "latest_values", "unique_history"} <= {found.id for found in public_macros()}


@pytest.mark.parametrize("path", public_macros())
def test_a_public_macro_has_yaml_with_typed_arguments(path: Path) -> None:
    own = properties(path)
    assert own["description"].strip()
    for argument in own["arguments"]:
        assert argument["type"]
        assert argument["description"].strip()


@pytest.mark.parametrize("path", public_macros())
def test_a_public_macro_has_an_entry_in_the_reference(path: Path) -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    found = re.search(rf"^(##+) {path.stem}\n(.*?)(?=^\1 |\Z)", pages, re.DOTALL | re.MULTILINE)
    assert found, f"no heading '{path.stem}' on a page of docs/reference"
    entry = found[2]
    assert f"[{path.name}](../../{path.relative_to(ROOT)})" in entry, "no link to its source"
    for argument in properties(path)["arguments"]:
        assert f"`{argument['name']}`" in entry, argument["name"]
    assert f"[`{path.stem}`](" in Page("reference/macros.md").text, "it is not in the tables of macros.md"


# --- commands ---------------------------------------------------------------------------------------------------------


def test_the_command_line_reference_is_up_to_date() -> None:
    assert cli_reference.PAGE.read_text(encoding="utf-8") == cli_reference.page(), (
        "the commands have changed: run `python tests/support/cli_reference.py` and commit docs/reference/cli.md"
    )


@pytest.mark.parametrize("command", cli_reference.COMMANDS)
def test_a_command_has_its_options_and_an_example_in_the_reference(command: str) -> None:
    _, _, rest = Page("reference/cli.md").text.partition(f"\n## syncer {command}\n")
    entry = rest.partition("\n## ")[0]
    for option in cli_reference.options(cli_reference.COMMANDS[command]):
        assert f"`{option.opts[-1]}`" in entry
    assert f"syncer {command}" in entry.partition("Example:")[2].partition("|")[0]


def test_what_each_command_prints_as_json_is_in_the_reference() -> None:
    _, _, rest = Page("reference/cli.md").text.partition("\n| command | members |\n")
    with_json = [
        name for name, command in cli_reference.COMMANDS.items() if "as_json" in {p.name for p in command.params}
    ]
    assert re.findall(r"^\| `([a-z-]+)` \|", rest.partition("\n\n")[0], re.MULTILINE) == with_json


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_guide_has_every_setting() -> None:
    text = Page("guides/feature-view.md").text
    tables = [
        set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE))
        for rows in re.findall(r"\| name \| type \| default \| meaning \|\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", text)
    ]
    assert tables == [SETTINGS[part] for part in ("feature_view", "feature_service", "features")]


# --- errors -----------------------------------------------------------------------------------------------------------


def test_every_error_is_in_the_tree_of_its_docstring() -> None:
    drawn: dict[str, str | None] = {}  # class -> its parent, by how far it is indented
    line_of: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^( +(?:[|+\- ]*))(\w+Error)\b", errors.__doc__ or "", re.MULTILINE):
        line_of = [(depth, above) for depth, above in line_of if depth < len(indent)]
        drawn[name] = line_of[-1][1] if line_of else None
        line_of.append((len(indent), name))
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert drawn == {
        kind.__name__: kind.__base__.__name__ if kind is not errors.SyncerError and kind.__base__ else None
        for kind in classes
    }


# --- reference/performance.md -----------------------------------------------------------------------------------------


def test_the_figures_are_those_that_are_held_with_their_limits_of_today() -> None:
    floors = json.loads((ROOT / "benchmarks" / "floors.json").read_text())
    text = (ROOT / "docs" / "reference" / "performance.md").read_text()
    which = "quick" if "benchmarks.figures --quick" in text else "floor"
    table = text.split("|---|---|---|---|---|---|\n")[1].split("\n<!-- end")[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {name: (goal, floor) for name, _, _, _, goal, floor in found} == {
        name: (str(one["goal"]), str(one[which])) for name, one in floors.items()
    }

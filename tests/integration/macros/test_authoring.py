"""The authoring check finds what dbt v2 would refuse; that this project passes it, `make lint` shows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROJECT = ("dbt_project.yml", "profiles", "models", "macros", "seeds", "tests/dbt")

PLANTED = """
models:
  - name: planted
    meta: {misplaced_model_meta: 1}
    unknown_model_key: 1
    config:
      unknown_config_key: 1
    columns:
      - name: x
        meta: {misplaced_column_meta: 1}
        data_tests:
          - accepted_values: {values: [1]}
"""


def test_each_planted_deprecation_is_found(tmp_path: Path) -> None:
    for name in PROJECT:
        source = ROOT / name
        target = tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    (tmp_path / "models" / "planted.sql").write_text("select 1 as x\n")
    (tmp_path / "models" / "planted.yml").write_text(PLANTED)

    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "authoring.py", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    printed = " ".join(done.stdout.split())
    for finding in (
        "Found `meta` as a top-level property of `models[0]` in file",
        "Found `meta` as a top-level property of `models[0].columns[0]` in file",
        "Custom key `unknown_model_key` found at `models[0]`",
        "Custom key `unknown_config_key` found in `config`",
        "Found top-level arguments to test `accepted_values` defined on 'planted'",
    ):
        assert finding in printed
    assert printed.endswith("dbt authoring: 5 findings")  # these, and nothing of the project's own

"""Where dbt runs elsewhere: its manifest and the registry are enough."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.shop import Shop


def test_neither_models_nor_dbt_need_be_there(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    shutil.copy(shop.folder / "target" / "manifest.json", artifacts)
    for folder in ("models", "target"):
        shutil.rmtree(shop.folder / folder)
    (shop.folder / "dbt_packages" / "feature_warehouse").unlink()
    shop.write("models/new.sql", "select 1 as later_than_the_manifest")
    monkeypatch.setitem(sys.modules, "dbt", None)
    assert "there is no manifest" in shop.try_syncer("sync").stderr
    planned = shop.json("plan", "--target-path", str(artifacts))
    synced = shop.json("sync", "--target-path", str(artifacts))
    assert [view["written"] for view in synced["views"]] == [3, 2, 2]
    assert len(planned["views"]) == 3
    assert "0 differences" in shop.syncer("verify", "--target-path", str(artifacts))
    missing = shop.try_syncer("sync", "--target-path", str(tmp_path))
    assert missing.exit_code == 1
    assert f"there is no manifest at {tmp_path / 'manifest.json'}" in missing.stderr

"""The journal: what was last done from this machine, one JSON line each, failures too.

Kept beside the remembered mirror, for people and for the report. Nothing rests on it: it may be deleted, and where it
cannot be written the sync goes on.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

#: Entries that are kept, and from how many bytes on the file is cut back to them.
KEPT, _CUT_BYTES = 200, 1 << 20


def record(folder: Path, namespace: str, entry: Mapping[str, Any]) -> None:
    """Adds one deed: the JSON values of an entry of the audit trail (``wire.trail``)."""
    path = _path(folder, namespace)
    try:
        if not folder.is_dir():
            return  # nothing is remembered here
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        if path.stat().st_size > _CUT_BYTES:
            kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[-KEPT:]
            new = path.with_suffix(".new")
            new.write_text("".join(kept), encoding="utf-8")
            os.replace(new, path)
    except OSError as error:
        logger.warning("%s: what was done is not written down: %s", path, error.strerror or error)


def read(folder: Path, namespace: str) -> list[dict[str, Any]]:
    """What was last done to ``namespace``, the newest first. A line that is torn is skipped."""
    try:
        lines = _path(folder, namespace).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in reversed(lines[-KEPT:]):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def syncs(folder: Path, namespace: str) -> list[dict[str, Any]]:
    """The syncs among them. The first release wrote nothing else, and called ``at`` ``ended_at``."""
    return [
        {"views": [], "what": [], **entry, "at": entry.get("at", entry.get("ended_at"))}
        for entry in read(folder, namespace)
        if entry.get("kind", "sync") == "sync"
    ]


def _path(folder: Path, namespace: str) -> Path:
    return folder / f"{namespace}.syncs.jsonl"

"""What a run remembers of the mirror that it left: a cache of what reading Redis back would return.

Per namespace, server and view version there are a spool, `<view>.<token>.arrow`, and `<view>.json`, which says whose
run left it, on which server, and the spool's length and checksum. The json file is put in place last, by an atomic
rename. A state counts only while the marker in Redis holds its token and the server is as it was; whatever else is
wrong with it (gone, torn, another format) only costs time: then Redis is read back.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_warehouse.warehouse.spool import Spool

logger = logging.getLogger(__name__)

#: Of the json file and of the spool. Another format is not read.
FORMAT = 1


class StateFolder:
    """The states of one namespace on one server, in a folder that ignores itself in git."""

    def __init__(self, root: Path, namespace: str, address: str) -> None:
        self._folder = root / namespace / hashlib.sha256(address.encode()).hexdigest()[:12]

    def load(self, view: str, token: str, server: str, folder: Path) -> Spool | str:
        """What is online of a view, as run ``token`` left it on ``server``; or why that is not known, in words.

        The spool is a link in ``folder``, on the same disk: another run may replace the state meanwhile.
        """
        try:
            facts = json.loads((self._folder / f"{view}.json").read_bytes())
            if facts["format"] != FORMAT:
                return f"its state has format {facts['format']}, and this version knows format {FORMAT}"
            if facts["token"] != token:
                return "another run has written it since, or did not end"
            if facts["server"] != server:
                return "Redis was restarted, has failed over, has evicted keys, or its slots changed hands"
            path = folder / f"{view}.{token}.online"
            path.unlink(missing_ok=True)
            os.link(self._folder / f"{view}.{token}.arrow", path)
            if (path.stat().st_size, _checksum(path)) != (facts["size"], facts["crc32"]):
                return "its state is damaged"
            return Spool(path=path, rows=facts["rows"], bytes=facts["bytes"], longest=facts["longest"])
        except FileNotFoundError:
            return "there is no state of it here"
        except (OSError, ValueError, TypeError, KeyError) as error:
            return f"its state cannot be read: {type(error).__name__}: {error}"

    def save(self, view: str, token: str, server: str, online: Spool) -> None:
        """Remembers ``online``, by a link to its file. Raises OSError; nothing is remembered then."""
        facts = {
            "format": FORMAT,
            "token": token,
            "server": server,
            "rows": online.rows,
            "bytes": online.bytes,
            "longest": online.longest,
            "size": online.path.stat().st_size,
            "crc32": _checksum(online.path),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        os.link(online.path, self._folder / f"{view}.{token}.arrow")
        new = self._folder / f"{view}.json.new"
        new.write_text(json.dumps(facts), encoding="utf-8")
        os.replace(new, self._folder / f"{view}.json")
        for path in self._folder.glob(f"{view}.*.arrow"):
            if path.name != f"{view}.{token}.arrow":
                path.unlink(missing_ok=True)


@contextmanager
def workspace(remember: Path | None) -> Iterator[Path]:
    """A folder for the spools of one run, beside its states, so that a spool becomes a state by a rename.

    Where ``remember`` is None or cannot be written, among the system's temporary files.
    """
    try:
        folder = _own_folder(remember) if remember else None
    except OSError as error:
        logger.warning("%s: nothing is remembered: %s", remember, error.strerror or error)
        folder = None
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="feature_warehouse_") as temporary:
            yield Path(temporary)
        return
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _own_folder(remember: Path) -> Path:
    remember.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # where it is somebody else's
        remember.chmod(0o700)  # what is in it are features of people, in readable form
    ignore = remember / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    for left in remember.glob("run_*"):  # of a run that was killed: nobody holds its lock
        with contextlib.suppress(OSError), open(left / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="run_", dir=remember))


def _checksum(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc

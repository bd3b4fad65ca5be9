"""A `syncer sync --every` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from queue import Empty, Queue
from threading import Thread

from tests.support.shop import Shop


class Watch:
    """A `syncer sync --every 1s` in the shop; its lines, stdout's and stderr's together."""

    def __init__(self, shop: Shop, *arguments: str) -> None:
        command = [sys.executable, "-m", "feature_warehouse", "sync", "--every", "1s", *arguments]
        environment = {**os.environ, "SYNCER_REDIS_URL": shop.redis_url}
        self.process = subprocess.Popen(
            command, cwd=shop.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line.rstrip())

    def until(self, words: str, seconds: float = 120.0) -> list[str]:
        """The lines up to the first one with ``words``."""
        seen: list[str] = []
        deadline = time.monotonic() + seconds
        while not (seen and words in seen[-1]):
            try:
                seen.append(self._lines.get(timeout=max(0.01, deadline - time.monotonic())))
            except Empty:
                raise AssertionError(f"no '{words}' in {seen}") from None
        return seen

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=120)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

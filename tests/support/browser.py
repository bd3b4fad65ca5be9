"""A real headless Chromium, spoken to over its DevTools protocol, two pipes and no library.

Sources: the Chrome DevTools Protocol (domains Page, Runtime, Log, Emulation, Input), and chromium's
`--remote-debugging-pipe`: JSON messages, each ended by a zero byte, read from descriptor 3 and written to 4.

As a program, `python -m tests.support.browser`, it shows a page in the browser that the tests would take, or fails.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.projects import ROOT

#: Where `make test` puts one, with libraries and a font.
OURS = ROOT / ".chromium"

#: What distributions call it. CHROMIUM names another one.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_SECONDS = 120.0  # what is not there by then does not come


def find_browser() -> str | None:
    """The one in CHROMIUM, ours, or one on PATH."""
    ours = OURS / "chromium"
    return os.environ.get("CHROMIUM") or shutil.which(ours) or next(filter(None, map(shutil.which, NAMES)), None)


_SURROUNDINGS = {"LD_LIBRARY_PATH": str(OURS / "lib"), "FONTCONFIG_FILE": str(OURS / "fonts.conf")}


class Browser:
    """One page; ``problems`` is what it complained of in its console, errors and refused requests."""

    def __init__(self, binary: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="browser_")
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()

        def descriptors() -> None:
            os.dup2(to_read, 3)
            os.dup2(to_write, 4)

        self._process = subprocess.Popen(
            [
                binary,
                "--headless",
                "--no-sandbox",  # tests run as root in containers; the page is our own
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
                f"--user-data-dir={self._folder.name}",
            ],
            preexec_fn=descriptors,
            pass_fds=(3, 4),
            env=os.environ | _SURROUNDINGS if Path(binary).parent == OURS else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self.problems: list[str] = []
        self._loaded = 0
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of one command; events that come before it are taken in."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url: str) -> None:
        """Returns once the page is loaded; going to another fragment of the same page loads nothing."""
        before = self._loaded
        if not self.call("Page.navigate", url=url).get("loaderId"):
            return
        while self._loaded == before:
            self._receive()

    def do(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str, wanted: Any) -> None:
        """Returns once the expression is ``wanted``."""
        deadline = time.monotonic() + _SECONDS
        while (found := self.do(script)) != wanted:
            assert time.monotonic() < deadline, f"{found} is not {wanted}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """One key, as a person presses it: 'Tab', 'Enter'."""
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def look(self, *, width: int = 1200, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """What the window and the person's system are like."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path: Path) -> None:
        """A PNG of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF")["data"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], _SECONDS)[0], "the browser says nothing"
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" or (method == "Runtime.consoleAPICalled" and parameters["type"] == "error"):
            self.problems.append(str(parameters))
        elif method == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                self.problems.append(f"asks the network for {url}")


def main() -> None:
    browser = Browser(find_browser() or "chromium")
    browser.open("data:text/html,<p>it works")
    assert browser.do("document.querySelector('p').offsetHeight") > 0
    assert browser.pdf().startswith(b"%PDF")
    browser.close()


if __name__ == "__main__":
    main()

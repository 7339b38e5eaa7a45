"""A headless Chromium that a test drives over two pipes: no driver, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

WAIT_S = 120.0


def find_chromium() -> str:
    """The browser, or a skip with the reason."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium to render the report (apt-get install chromium)")
    return browser


class Browser:
    """One page at a time. ``problems``: console errors and warnings, exceptions, what the policy refused.

    ``requests``: addresses that were asked for, those inside the page (data, blob) left out.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 1000) -> None:
        command = [find_chromium(), "--headless", "--no-sandbox", "--hide-scrollbars", "--mute-audio"]
        command += ["--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        command += ["--proxy-server=127.0.0.1:9", f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        command += [f"--window-size={width},{height}", "--no-first-run", "about:blank"]
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def place_pipes() -> None:  # Chromium reads from 3 and writes to 4
            reads, writes = os.dup(to_browser), os.dup(from_browser)
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        self._process = subprocess.Popen(
            command,
            preexec_fn=place_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        os.set_blocking(self._in, False)
        self._count, self._buffer, self._session = 0, b"", ""
        self._answers: dict[int, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def open(self, page: Path) -> None:
        """Load a file and wait until the browser has it."""
        self.problems.clear()
        self.requests.clear()
        self._call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def emulate(self, medium: str) -> None:
        """``print`` or ``screen``."""
        self._call("Emulation.setEmulatedMedia", media=medium)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until the expression is true."""
        end = time.monotonic() + WAIT_S
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition} was not reached: {self.problems}"
            time.sleep(0.05)

    def drag(self, x: float, y: float) -> None:
        """Press the left button at a place of the window (CSS pixels) and let it go."""
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            self._call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=buttons,
                clickCount=int(kind != "mouseMoved"),
            )

    def key(self, name: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    def widest_table(self, width: int, medium: str = "screen") -> int:
        """CSS pixels, with all that is folded open, in a window or on paper of ``width``."""
        self.emulate(medium)
        self.resize(width, 1000)
        self.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        tables = "[...document.querySelectorAll('table')].map(t => t.scrollWidth)"
        widest = int(self.evaluate(f"Math.max(0, ...{tables})"))
        self.emulate("screen")
        return widest

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        content = self._call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(base64.b64decode(content["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        content = self._call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(content["data"]))
        return path

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + WAIT_S
        while self._count not in self._answers:
            assert time.monotonic() < end, f"Chromium did not answer {method}"
            self._read()
        answer = self._answers.pop(self._count)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _read(self) -> None:
        try:
            self._buffer += os.read(self._in, 1 << 20)
        except BlockingIOError:
            assert self._process.poll() is None, "Chromium ended"
            time.sleep(0.005)
        *messages, self._buffer = self._buffer.split(b"\0")
        for message in messages:
            self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        method, content = message["method"], message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(content["exceptionDetails"]))
        elif method == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
            self.problems.append(content["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
            self.problems.append(str([a.get("value", a.get("description")) for a in content["args"]]))
        elif method == "Network.requestWillBeSent":
            address = content["request"]["url"]
            if not address.startswith(("data:", "blob:")):
                self.requests.append(address)


def widths_of_tables(page: Path, profile: Path) -> tuple[int, int]:
    """The widest table of a report in a window of 1,200 pixels, and on paper.

    A4 lies on its side, with margins of 10 mm 1047 pixels wide.
    """
    with Browser(profile, 1200, 1000) as browser:
        browser.open(page)
        return browser.widest_table(1200), browser.widest_table(1047, "print")

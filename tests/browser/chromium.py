"""A headless Chromium, driven by its DevTools protocol over a pipe: no driver, no socket, no package."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT = 60.0  # seconds; a loaded machine starts slowly


class Chromium:
    """One browser with one tab. `events` are all that the tab has reported, as (method, parameters)."""

    def __init__(self):
        found = next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            raise RuntimeError("no Chromium on the path; install it: apt-get install chromium")
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._ids, self._answers, self._rest = itertools.count(1), {}, b""
        self._profile = tempfile.TemporaryDirectory(prefix="chromium_", ignore_cleanup_errors=True)
        self._process, self._write, self._read = _start(found, self._profile.name)
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to the tab, and its answer."""
        return self._call(method, parameters, self._session)

    def open(self, page: Path, *, width: int = 1280, height: int = 900, touch: bool = False) -> None:
        """Shows a file in a window of CSS pixels, and waits until it is loaded."""
        self.events.clear()
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch, maxTouchPoints=1 if touch else None)
        self.resize(width, height, mobile=touch)
        self.call("Page.navigate", url=page.resolve().as_uri())
        self._until(lambda: any(method == "Page.loadEventFired" for method, _ in self.events))

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", str(answer)))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key by its DOM name, such as ArrowRight."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Enter": 13}
        for kind in ("keyDown", "keyUp"):
            text = "\r" if key == "Enter" and kind == "keyDown" else ""
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key], text=text)

    def box(self, selector: str) -> dict[str, float]:
        """Where an element lies in the window, scrolled into view."""
        return self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); "
            "const {x, y, width, height} = e.getBoundingClientRect(); return {x, y, width, height}; })()"
        )

    def drag(self, selector: str, start: float, end: float, *, touch: bool = False) -> None:
        """Pulls a pointer, or a finger, across an element, from one share of its width to another."""
        box = self.box(selector)
        y = box["y"] + box["height"] / 2
        path = [box["x"] + box["width"] * (start + (end - start) * step / 8) for step in range(9)]
        kinds = ["Start", *["Move"] * 8, "End"] if touch else ["Pressed", *["Moved"] * 8, "Released"]
        for kind, x in zip(kinds, [*path, path[-1]], strict=True):
            if touch:
                points = [] if kind == "End" else [{"x": x, "y": y}]
                self.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)
            else:
                place = dict(x=x, y=y, button="left", buttons=0 if kind == "Released" else 1, clickCount=1)
                self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", **place)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """The window, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole, **(self._page() if whole else {}))
        path.write_bytes(base64.b64decode(answer["data"]))

    def _page(self) -> dict[str, Any]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    @property
    def problems(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and violations of the page's policy."""
        found = []
        for method, parameters in self.events:
            if method == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str(parameters["args"]))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
        return found

    @property
    def requests(self) -> list[str]:
        """Addresses asked for, apart from what a page brings along in itself."""
        asked = [p["request"]["url"] for method, p in self.events if method == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def _call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        number = next(self._ids)
        given = {key: value for key, value in parameters.items() if value is not None}
        message = {"id": number, "method": method, "params": given} | ({"sessionId": session} if session else {})
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self._write, left) :]
        self._until(lambda: number in self._answers)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _until(self, met) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not met():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError(f"Chromium said nothing for {TIMEOUT:g} seconds")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise RuntimeError(f"Chromium ended with code {self._process.wait(TIMEOUT)}")
            *messages, self._rest = (self._rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers[message["id"]] = message
                else:
                    self.events.append((message["method"], message.get("params", {})))


def _start(program: str, profile: str) -> tuple[subprocess.Popen, int, int]:
    """The process, a descriptor to write commands to, and one to read from: its descriptors 3 and 4."""
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    options = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "--disable-gpu"]
    options += ["--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"]
    # A shell puts the pipes where Chromium looks for them; it is replaced by Chromium.
    command = f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}'
    process = subprocess.Popen(
        ["bash", "-c", command, program, *options],
        pass_fds=(their_in, their_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    return process, our_out, our_in

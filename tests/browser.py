"""A headless Chromium, driven through chromedriver with nothing but the WebDriver protocol (w3.org/TR/webdriver2)."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the standard gives an element


def missing() -> str | None:
    """Why there is no browser here; None if there is one."""
    for names in (("chromedriver",), ("chromium", "chromium-browser", "google-chrome")):
        if not any(map(shutil.which, names)):
            return f"no browser: {' or '.join(names)} is not installed"
    return None


class Page:
    """One open window."""

    def __init__(self, session: str):
        self._session = session

    def open(self, url: str) -> None:
        _ask("POST", f"{self._session}/url", {"url": url})

    def script(self, text: str, *arguments: Any) -> Any:
        """What a line of JavaScript returns in the page."""
        return _ask("POST", f"{self._session}/execute/sync", {"script": text, "args": list(arguments)})

    def click(self, selector: str) -> None:
        """Clicks the first element that a CSS selector finds; an element that cannot be clicked is an error."""
        found = _ask("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        self.script("arguments[0].scrollIntoView()", found)
        _ask("POST", f"{self._session}/element/{found[ELEMENT]}/click", {})

    def enter(self, selector: str) -> None:
        """Goes on inside a frame, until another page is opened."""
        found = _ask("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        _ask("POST", f"{self._session}/frame", {"id": found})

    def text(self, selector: str) -> str:
        """The text that a reader sees."""
        return self.script("return document.querySelector(arguments[0]).innerText", selector)


@contextlib.contextmanager
def browser(width: int = 1000, height: int = 800) -> Iterator[Page]:
    """A browser that is closed again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"
        _wait(base)
        alone = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}", *alone]
        options = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}}
        session = f"{base}/session/{_ask('POST', base + '/session', options)['sessionId']}"
        try:
            yield Page(session)
        finally:
            _ask("DELETE", session)
    finally:
        driver.terminate()
        driver.wait(10)


def _wait(base: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            _ask("GET", base + "/status")
            return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _ask(method: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)["value"]

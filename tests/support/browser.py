"""A headless Chromium, driven by selenium, the example page in it, and a web server for the page.

Selenium is imported late, so that its absence skips tests in place of breaking them.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support.processes import PATIENCE_SECONDS

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["Page", "headless_chromium", "missing_browser", "served_folder"]

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,760",
)


def missing_browser() -> str:
    """What is missing to run a browser; empty when all is there."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return ", ".join(missing if importlib.util.find_spec("selenium") else [*missing, "selenium"])


@contextmanager
def headless_chromium(profile: Path) -> Iterator[Chrome]:
    """A browser with a fresh profile in `profile`, told never to go to the network by itself."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")), log_output=os.devnull)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The example page in a browser, its fields filled in for one server and topic, and *Connect* pressed."""

    def __init__(self, browser: Chrome, page: str, url: str, topic: str) -> None:
        self._browser = browser
        browser.get(f"{page}?server={quote(url)}&topic={quote(topic)}")
        browser.find_element("id", "connect-button").click()

    def wait_state(self, *states: str) -> str:
        """The text of the state, once it is one of `states`."""
        from selenium.webdriver.support.ui import WebDriverWait

        element = self._browser.find_element("id", "state")
        WebDriverWait(self._browser, PATIENCE_SECONDS).until(lambda _: element.get_attribute("class") in states)
        return element.text

    def publish(self, text: str) -> None:
        self._browser.find_element("id", "message").send_keys(text)
        self._browser.find_element("id", "publish-button").click()

    def wait_message(self, text: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        def is_there(browser: Chrome) -> bool:
            return any(item.text.endswith(text) for item in browser.find_elements("css selector", "#messages li"))

        WebDriverWait(self._browser, PATIENCE_SECONDS).until(is_there)


class _Handler(http.server.SimpleHTTPRequestHandler):
    timeout = 0.5  # browsers open connections on speculation, and then say nothing

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _FolderServer(http.server.ThreadingHTTPServer):
    daemon_threads = False  # its threads end before it does


@contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    """The origin under which `folder` is to be had."""
    handler = functools.partial(_Handler, directory=str(folder))
    with _FolderServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

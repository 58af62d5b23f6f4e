"""Every example runs: the programs as processes, the page in a headless Chromium."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pubsub import UpgradeRefused
from pubsub.sync import Publisher, Subscriber
from tests.support.browser import Page, headless_chromium, missing_browser, served_folder
from tests.support.processes import PATIENCE_SECONDS, Program, command, run_command, running_server

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, *arguments: str) -> Program:
    return Program(str(EXAMPLES / name), *arguments)


def test_the_readme_names_every_example_and_no_other() -> None:
    named = set(re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text()))
    assert named == {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".html")}


def test_the_simple_examples_talk_to_each_other() -> None:
    with running_server() as server:
        url = f"{server.url}/clock"
        with example("simple_subscriber.py", url) as subscriber:
            assert subscriber.line() == f"subscribed to {url}"
            with example("simple_publisher.py", url) as publisher:
                assert publisher.line() == "published 1"
                assert re.fullmatch(r"1: it is \d\d:\d\d:\d\d", subscriber.line())
                assert publisher.line() == "published 2"
                assert subscriber.line().startswith("2: ")


def test_the_command_line_examples_talk_to_each_other() -> None:
    with running_server() as server:
        url = f"{server.url}/lines"
        with example("cli_subscriber.py", url) as subscriber:
            assert subscriber.line("stderr") == "subscribed"
            with example("cli_publisher.py", url, "--name", "bob") as publisher:
                assert publisher.finish("hello\n\nwörld".encode()).code == 0
            assert [subscriber.line() for _ in range(3)] == ["hello", "", "wörld"]
            assert "bob-" in server.program.wait_line("bob-")
            server.program.signal(signal.SIGTERM)
            ended = subscriber.finish()
            assert ended.code == 1 and "1012" in ended.stderr


# -- Web applications ------------------------------------------------------------------------------------------------


@contextmanager
def web_application(name: str) -> Iterator[int]:
    """The port of an example, once it listens there."""
    port = free_port()
    run: tuple[str, ...] = (str(EXAMPLES / f"{name}.py"), str(port))
    if name != "aiohttp_live":
        run = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), f"{name}:app", "--port", str(port))
    with Program(*run) as program:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not listens(port):
            assert time.monotonic() < deadline, program.finish()
            time.sleep(0.05)
        yield port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def post(port: int, target: str, body: bytes = b"") -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.request("POST", target, body)
    answer = connection.getresponse().read()
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("name", "topic", "target"),
    [
        ("fastapi_live", "/chat", "/say?text=hello"),
        ("starlette_live", "/news", "/news"),
        ("aiohttp_live", "/news", "/news"),
        ("django_live", "/news", "/news"),
    ],
)
def test_what_a_route_of_a_web_application_publishes_reaches_subscribers(name: str, topic: str, target: str) -> None:
    with web_application(name) as port, Subscriber(f"ws://127.0.0.1:{port}/live{topic}", text=True) as subscriber:
        assert post(port, target, b"hello").replace(b" ", b"") == b'{"offset":1}'
        assert next(subscriber) in ("hello", b"hello")


def test_a_route_of_the_starlette_example_decides_who_may_have_a_room() -> None:
    with web_application("starlette_live") as port:
        url = f"ws://127.0.0.1:{port}/rooms/blue"
        with pytest.raises(UpgradeRefused), Subscriber(url):
            pass
        with Subscriber(f"{url}?token=open-sesame") as subscriber, Publisher(f"{url}?token=open-sesame") as publisher:
            publisher.publish(b"hello")
            assert next(subscriber) == b"hello"


# -- The page ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with headless_chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.mark.browser
@pytest.mark.skipif(bool(missing_browser()), reason=f"not installed: {missing_browser()}")
class TestPage:
    def test_a_file_publishes_and_subscribes_when_its_null_origin_is_allowed(
        self, browser: Chrome, tmp_path: Path
    ) -> None:
        with running_server("--allow-origins", "null") as server:
            page = Page(browser, (EXAMPLES / "page.html").as_uri(), server.url, "/chat")
            assert page.wait_state("open", "failed") == f"connected to {server.url}/chat"
            with command("sub", "-v", f"{server.url}/chat") as reader:
                reader.wait_line("subscribed", "stderr")
                page.publish("hello from the page")
                assert reader.line() == "hello from the page"
            page.wait_message("hello from the page")
            run_command("pub", f"{server.url}/chat", "hello, browser")
            run_command("pub", f"{server.url}/chat", "--file", "-", input=b"\xff\xfe\xfd")
            page.wait_message("hello, browser")
            page.wait_message("3 bytes that are no text")
            screenshot = tmp_path / "page.png"
            assert browser.save_screenshot(str(screenshot)) and screenshot.stat().st_size > 10_000
            server.program.signal(signal.SIGTERM)
            assert page.wait_state("failed").startswith("closed: 1012")

    def test_the_fastapi_page_shows_what_it_says_and_what_others_publish(self, browser: Chrome, tmp_path: Path) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        def shows(text: str) -> None:
            WebDriverWait(browser, PATIENCE_SECONDS).until(
                lambda _: text in browser.find_element("tag name", "body").text
            )

        with web_application("fastapi_live") as port:
            browser.get(f"http://127.0.0.1:{port}/")
            shows("connected")
            browser.find_element("name", "text").send_keys("hello from the page")
            browser.find_element("tag name", "button").click()
            shows("hello from the page")
            post(port, "/say?text=hello+from+elsewhere")
            shows("hello from elsewhere")
            screenshot = tmp_path / "fastapi.png"
            assert browser.save_screenshot(str(screenshot)) and screenshot.stat().st_size > 5_000
        shows("closed: 1012")

    def test_from_a_web_server_its_origin_is_what_must_be_allowed(self, browser: Chrome) -> None:
        with served_folder(EXAMPLES) as origin:
            with running_server("--allow-origins", origin) as server:
                page = Page(browser, f"{origin}/page.html", server.url, "/chat")
                assert page.wait_state("open", "failed").startswith("connected")
            with running_server() as server:
                page = Page(browser, f"{origin}/page.html", server.url, "/chat")
                assert f"--allow-origins {origin}" in page.wait_state("open", "failed")

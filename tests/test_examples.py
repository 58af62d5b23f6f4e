"""Every example runs: the programs as processes, the page in a headless Chromium."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import Page, headless_chromium, missing_browser, served_folder
from tests.support.processes import Program, command, run_command, running_server

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

    def test_from_a_web_server_its_origin_is_what_must_be_allowed(self, browser: Chrome) -> None:
        with served_folder(EXAMPLES) as origin:
            with running_server("--allow-origins", origin) as server:
                page = Page(browser, f"{origin}/page.html", server.url, "/chat")
                assert page.wait_state("open", "failed").startswith("connected")
            with running_server() as server:
                page = Page(browser, f"{origin}/page.html", server.url, "/chat")
                assert f"--allow-origins {origin}" in page.wait_state("open", "failed")

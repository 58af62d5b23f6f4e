"""`fastpubsub pub` and `sub` in pipes: what goes in comes out, and each end is told with its exit code."""

import json
import os
import pty
import signal
import socket
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import Program, RunningServer, command, run_command, running_server

ODD_BYTES = bytes(range(256)) * 3


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@contextmanager
def subscribed(url: str, *flags: str) -> Iterator[Program]:
    """A `sub` that is subscribed already."""
    with command("sub", "-v", url, *flags) as program:
        program.wait_line("subscribed to", "stderr")
        yield program


# -- What goes in comes out ----------------------------------------------------------------------------------------


def test_arguments_are_messages_and_sub_ends_after_the_count(server: RunningServer) -> None:
    url = f"{server.url}/arguments"
    with subscribed(url, "--count", "3") as reader:
        assert run_command("pub", url, "one", "", "two words").code == 0
        finished = reader.finish()
    assert (finished.code, finished.stdout, finished.stderr) == (0, b"one\n\ntwo words\n", "")


def test_more_messages_than_the_count_are_left_out(server: RunningServer) -> None:
    url = f"{server.url}/count"
    with subscribed(url, "--count", "2") as reader:
        assert run_command("pub", url, "one", "two", "three").code == 0
        assert reader.finish().stdout == b"one\ntwo\n"


def test_a_message_may_look_like_a_url_or_a_flag(server: RunningServer) -> None:
    url = f"{server.url}/looks"
    with subscribed(url, "--count", "3") as reader:
        assert run_command("pub", url, "-m", "/news", "-m", "--text", "-m", "ws://here").code == 0
        assert reader.finish().stdout == b"/news\n--text\nws://here\n"


def test_lines_of_stdin_are_published_while_more_are_awaited(server: RunningServer) -> None:
    url = f"{server.url}/lines"
    with subscribed(url) as reader, command("pub", url) as writer:
        for line in ("first", "second"):
            writer.stdin.write(f"{line}\n".encode())
            assert reader.line() == line
        assert writer.finish(b"last, without newline").code == 0
        assert reader.wait_line("last") == "last, without newline"


def test_files_and_all_of_stdin_are_one_message_each_byte_for_byte(server: RunningServer, tmp_path: Path) -> None:
    url = f"{server.url}/files"
    file = tmp_path / "picture"
    file.write_bytes(ODD_BYTES)
    with subscribed(url, "--count", "2", "--format", "raw") as reader:
        assert run_command("pub", url, "--file", str(file), "--file", "-", input=b"\xff\nrest").code == 0
        assert reader.finish().stdout == ODD_BYTES + b"\xff\nrest"


def test_a_large_message_passes_through_both_pipes(server: RunningServer) -> None:
    url = f"{server.url}/large"
    message = os.urandom(5 << 20)
    with subscribed(url, "--count", "1", "--format", "raw") as reader:
        assert run_command("pub", url, "--file", "-", input=message).code == 0
        assert reader.finish().stdout == message


def test_json_tells_text_from_binary_and_what_is_no_utf8(server: RunningServer) -> None:
    url = f"{server.url}/json"
    with subscribed(url, "--count", "3", "--format", "json") as reader:
        assert run_command("pub", url, "--text", "-m", 'größer "als"').code == 0
        assert run_command("pub", url, "-m", "plain").code == 0
        assert run_command("pub", url, "--file", "-", input=b"\xff\x00").code == 0
        messages = [json.loads(line) for line in reader.finish().stdout.splitlines()]
    assert messages == [
        {"type": "text", "data": 'größer "als"'},
        {"type": "binary", "data": "plain"},
        {"type": "binary", "base64": "/wA="},
    ]


def test_on_a_terminal_control_characters_are_shown_and_not_obeyed(server: RunningServer) -> None:
    url = f"{server.url}/terminal"
    terminal, screen = pty.openpty()
    try:
        tty.setraw(screen)
        with Program("-m", "pubsub", "sub", "-v", url, "--count", "1", stdout=screen) as reader:
            reader.wait_line("subscribed to", "stderr")
            assert run_command("pub", url, "-m", "red: \x1b[31m\tnew\nline \x9b").code == 0
            assert reader.finish().code == 0
        assert os.read(terminal, 1 << 16) == b"red: \\x1b[31m\tnew\\nline \\x9b\n"
    finally:
        os.close(terminal)
        os.close(screen)


def test_a_path_and_no_url_lead_to_the_server_of_the_variable(server: RunningServer) -> None:
    here = {"PUBSUB_ADDR": server.address}
    for path, url in (("/path", f"{server.url}/path"), (None, f"{server.url}/")):
        with subscribed(url, "--count", "1") as reader:
            assert run_command("pub", *([path] if path else []), "hello", environment=here).code == 0
            assert reader.finish().stdout == b"hello\n"


# -- How it ends ---------------------------------------------------------------------------------------------------


def test_no_server_is_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for name in ("pub", "sub"):
        finished = run_command(name, f"ws://127.0.0.1:{port}/news")
        assert (finished.code, finished.stdout) == (1, b"")
        assert finished.stderr.count("\n") == 1 and "fastpubsub serve" in finished.stderr


def test_a_refused_upgrade_says_what_the_server_said() -> None:
    with running_server() as server:
        finished = run_command("sub", f"{server.url}/news", "-H", "Origin: https://elsewhere.example")
    assert finished.code == 1
    assert finished.stderr.count("\n") == 1
    assert "403" in finished.stderr and "--allow-origin" in finished.stderr


@pytest.mark.parametrize("name", ["pub", "sub"])
def test_a_server_that_goes_is_noticed_while_waiting_and_gives_1(name: str) -> None:
    with running_server() as server, command(name, "--name", "bob", f"{server.url}/news") as waiting:
        server.program.wait_line("bob-")
        server.program.signal(signal.SIGTERM)
        finished = waiting.finish() if name == "sub" else waiting.finish_with_open_input()
        assert finished.code == 1
        assert finished.stderr.count("\n") == 1 and "1012" in finished.stderr


@pytest.mark.parametrize("name", ["pub", "sub"])
def test_ctrl_c_is_quiet_and_gives_130(name: str) -> None:
    with running_server() as server, command(name, "--name", "bob", f"{server.url}/news") as waiting:
        server.program.wait_line("bob-")
        waiting.signal(signal.SIGINT)
        finished = waiting.finish_with_open_input()
        assert (finished.code, finished.stdout, finished.stderr) == (130, b"", "")


def test_sub_ends_quietly_with_0_as_soon_as_nobody_reads_its_output(server: RunningServer) -> None:
    with subscribed(f"{server.url}/broken") as reader:
        reader.close_stdout()
        finished = reader.finish()  # without another message
    assert (finished.code, finished.stderr) == (0, "")


def test_pub_says_how_much_it_published_when_asked(server: RunningServer) -> None:
    finished = run_command("pub", "--verbose", f"{server.url}/verbose", input=b"a\nb\n")
    assert finished.stderr == f"fastpubsub: published 2 messages to {server.url}/verbose\n"


def test_text_that_is_no_utf8_is_one_line_and_exit_code_2(server: RunningServer) -> None:
    finished = run_command("pub", "--text", f"{server.url}/text", input=b"good\nb\xffd\n")
    assert finished.code == 2
    assert finished.stderr.count("\n") == 1
    assert "message 2" in finished.stderr and "0xff" in finished.stderr and "--text" in finished.stderr

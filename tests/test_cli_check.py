"""`fastpubsub check`: exit code 0 for a server that upgrades and closes, and nobody hears of it."""

import json
import signal
import socket
from collections.abc import Iterator

import pytest

from pubsub.cli.command import run
from tests.support.peers import threaded_server
from tests.support.processes import run_command, running_server


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts, in the kernel, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_is_up_gives_0_and_no_event() -> None:
    with running_server() as server:
        for arguments, variables in (((server.url,), {}), ((), {"PUBSUB_ADDR": server.address})):
            finished = run_command("check", *arguments, environment=variables)
            assert (finished.code, finished.stderr) == (0, "")
            assert finished.stdout.decode().startswith(f"{server.url}/ is up")
        run_command("pub", f"{server.url}/after", "-m", "")
        server.program.signal(signal.SIGTERM)
        events = [json.loads(line) for line in server.program.finish().stdout.splitlines()]
    assert {event["subscriptionTopic"] for event in events} == {"/after"}


def test_no_server_gives_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert run(["check", f"ws://127.0.0.1:{port}"]) == 1
    assert "cannot connect" in capsys.readouterr().err


def test_a_server_that_does_not_answer_gives_1_after_the_timeout(
    silent_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", silent_server, "--timeout", "100ms"]) == 1
    assert "0.1 s" in capsys.readouterr().err


def test_a_server_that_does_not_close_gives_1_after_the_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    with threaded_server(lambda connection: list(connection)) as url:
        assert run(["check", url, "--timeout", "100ms"]) == 1
    assert "did not close in 0.1 s" in capsys.readouterr().err


def test_a_server_that_is_ending_gives_1(capsys: pytest.CaptureFixture[str]) -> None:
    with threaded_server(lambda connection: connection.close(1012)) as url:
        assert run(["check", url]) == 1
    assert "1012" in capsys.readouterr().err

"""`fastpubsub check`: exit code 0 for a server that upgrades and closes, and nobody hears of it."""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator

import pytest

from pubsub.cli.command import run
from pubsub.gate import Gate, full
from pubsub.handshake import Refusal, try_later
from pubsub.options import Options
from tests.support.peers import Peer, scripted_server, threaded_server
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


@pytest.mark.parametrize("timeout", ["0", "-1", "1000000000000", "soon"])
def test_a_timeout_out_of_range_is_one_line_that_names_the_flag(
    timeout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", "--timeout", timeout]) == 2
    said = capsys.readouterr().err
    assert "--timeout" in said and "open_timeout" not in said and said.count("\n") == 1


# --- a server that is full ------------------------------------------------------------------------------------------


def one_too_many(address: str | None, **options: int) -> Refusal:
    """What the second client gets."""
    gate = Gate(Options(**options))  # type: ignore[arg-type]
    assert gate.enter(address) is None
    refusal = gate.enter(address)
    assert refusal is not None
    return refusal


async def check_answered_with(refusal: Refusal) -> int:
    """The exit code of a check that gets this answer."""

    async def refuse(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(refusal.to_bytes())
        await peer.reader.read()

    async with scripted_server(refuse) as url:
        return await asyncio.to_thread(run, ["check", url])


def test_a_server_at_max_connections_is_alive_and_full() -> None:
    with running_server("--max-connections", "1") as server:
        host, _, port = server.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30):
            # It is accepted before the check is.
            finished = run_command("check", server.url)
    assert (finished.code, finished.stderr) == (0, "")
    said = finished.stdout.decode()
    assert said == f"{server.url}/ is alive, and full: 1 connections are open, which is max_connections\n"


async def test_a_server_with_all_that_an_address_may_have_is_alive_and_full(capsys: pytest.CaptureFixture[str]) -> None:
    for address in ("192.0.2.1", "2001:0db8:0001:0002"):
        assert await check_answered_with(one_too_many(address, max_connections_per_address=1)) == 0
        said = f"is alive, and full: 1 connections from {address} are open, which is max_connections_per_address\n"
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "refusal",
    [
        try_later("the server is closing; connect again in a while"),
        try_later("no healthy upstream"),
        try_later("max_connections", status=429),
        full("max_upgrades_per_second", "more than max_upgrades_per_second=1 are asking"),
        Refusal(502, one_too_many(None, max_connections=1).body),
    ],
    ids=lambda refusal: refusal.body[:24],
)
async def test_any_other_refusal_gives_1(refusal: Refusal, capsys: pytest.CaptureFixture[str]) -> None:
    assert await check_answered_with(refusal) == 1
    said = capsys.readouterr()
    assert said.out == "" and f"status {refusal.status}" in said.err

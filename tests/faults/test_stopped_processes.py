"""A pause of the server is held against nobody; a pause of a client is its own affair."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.crew import crew
from tests.support.processes import TESTS_ON_PATH, Program, stop_process
from tests.support.rawclient import PATIENCE, RawClient, frame, request
from tests.support.server import ServerProcess, server_process, serving, wait_until

# A stop is twice any of these.
DEADLINES: dict[str, Any] = {
    "ping_interval": 0.2,
    "pong_deadline": 1.0,
    "handshake_deadline": 0.5,
    "subscriber_write_timeout": 0.5,
}
STOP_SECONDS = 2.0


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with server_process(**DEADLINES, close_deadline=0.5, message_timeout=0.5) as server:
        yield server


@contextlib.asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[None]:
    """The process stands still for STOP_SECONDS, while the block runs."""
    stop_process(pid)
    begun = time.monotonic()
    try:
        yield
        await wait_until(lambda: time.monotonic() > begun + STOP_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def departures(server: ServerProcess) -> dict[str, int]:
    found: dict[str, int] = server.stats()["departures"]
    return found


async def test_nobody_departs_because_the_server_stood_still(server: ServerProcess) -> None:
    async with crew() as people:
        for _ in range(100):
            await people.join(server.port, "subscriber")
        publisher = await people.join(server.port, "publisher")
        await publisher.send(frame(b"before"))
        await wait_until(lambda: all(heard == [b"before"] for heard in people.heard[:100]), "the message before")
        async with stopped(server.pid):
            await publisher.send(frame(b"meanwhile"))
        await wait_until(
            lambda: all(heard[1:] == [b"meanwhile"] for heard in people.heard[:100]), "the message meanwhile"
        )
        # Long enough for any verdict about the stop to fall.
        settled = time.monotonic() + 1.7
        await wait_until(lambda: time.monotonic() > settled)
        assert departures(server) == {}
        assert people.alive == 101


async def test_a_request_and_a_message_that_were_under_way_are_finished_after_the_stop(server: ServerProcess) -> None:
    async with crew() as people:
        await people.join(server.port, "subscriber")
        publisher = await people.join(server.port, "publisher")
        arriving = await RawClient.dial(server.port)
        people.keep(arriving)
        await arriving.send(request("/t")[:-2])
        await publisher.send(frame(b"half", fin=False))
        await wait_until(lambda: server.stats()["received_bytes"] >= 10, "half a message")
        async with stopped(server.pid):
            await arriving.send(request("/t")[-2:])
            await publisher.send(frame(b"whole", 0x0))
        assert (await arriving.read_response()).status == 101
        await wait_until(lambda: people.heard[0] == [b"halfwhole"], "the whole message")
        assert departures(server) == {}


async def test_a_subscriber_that_was_owed_data_during_the_stop_is_not_stalled(server: ServerProcess) -> None:
    async with crew() as people:
        publisher = await people.join(server.port, "publisher")
        reader = await RawClient.dial(server.port, receive_buffer=4096)
        people.keep(reader)
        await reader.upgrade(request("/t"))
        await publisher.send(frame(bytes(4_000_000)))
        await wait_until(lambda: server.stats()["sent_bytes"] > 5000, "a begun message")
        async with stopped(server.pid):
            pass
        assert await reader.read_message() == bytes(4_000_000)
        assert departures(server) == {}


async def test_nobody_departs_because_python_was_busy() -> None:
    async with serving(ping_interval=0.05, pong_deadline=0.2, subscriber_write_timeout=0.2) as scene, crew() as people:
        for role in ("publisher", "subscriber", "duplex"):
            await people.join(scene.server.port, role)
        for _ in range(3):
            busy_until = time.monotonic() + 0.6
            while time.monotonic() < busy_until:
                pass
            settled = time.monotonic() + 0.1
            await wait_until(lambda settled=settled: time.monotonic() > settled)  # type: ignore[misc]
        assert scene.departures == {}
        assert people.alive == 3


# --- a client's pause -----------------------------------------------------------------------------------------------

SUBSCRIBER = """
import asyncio, sys
from pubsub import Subscriber, ConnectionClosed

async def main():
    async with Subscriber(sys.argv[1]) as subscriber:
        print("here", flush=True)
        try:
            async for message in subscriber:
                print("heard", message.decode(), flush=True)
        except ConnectionClosed as error:
            print("closed", error.code, flush=True)

asyncio.run(main())
"""


async def test_a_client_that_stands_still_departs_and_another_does_not() -> None:
    options = {"ping_interval": 0.2, "pong_deadline": 1.0, "close_deadline": 30.0}
    async with serving(**options) as scene:
        url = scene.server.url + "/t"
        with Program("-c", SUBSCRIBER, url) as stands_still, Program("-c", SUBSCRIBER, url) as stays:
            loop = asyncio.get_running_loop()
            for program in (stands_still, stays):
                assert await loop.run_in_executor(None, program.line) == "here"
            async with asyncio.timeout(PATIENCE), stopped(stands_still.pid):
                await wait_until(lambda: scene.server.stats().subscribers == 2)
                scene.server.publish("/t", b"hello")
                assert await loop.run_in_executor(None, stays.line) == "heard hello"
            # What was on its way before the verdict is in its kernel's hands; then the server's Close.
            assert await loop.run_in_executor(None, stands_still.line) == "heard hello"
            assert await loop.run_in_executor(None, stands_still.line) == "closed 1011"
            await scene.wait_departures(no_pong=1)
            scene.server.publish("/t", b"goodbye")
            assert await loop.run_in_executor(None, stays.line) == "heard goodbye"


PUBLISHER = """
import socket, sys
from tests.support.rawclient import frame, request

sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(request("/t", role="publisher"))
assert b"101" in sock.recv(4096)
data = frame(b"whole") + frame(b"half and half")
sock.sendall(data[:-4])
print("half", flush=True)
sys.stdin.readline()
sock.sendall(data[-4:])
sys.stdin.readline()
"""


async def test_a_publisher_that_stands_still_in_the_middle_of_a_message_holds_up_nobody() -> None:
    """Within its deadlines: what it had begun is finished afterwards."""
    options = {"ping_interval": 0.2, "pong_deadline": 30.0, "message_timeout": 30.0}
    async with serving(**options) as scene, crew() as people:
        await people.join(scene.server.port)
        with Program("-c", PUBLISHER, str(scene.server.port), environment=TESTS_ON_PATH) as program:
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, program.line) == "half"
            other = await people.join(scene.server.port, "publisher")
            async with stopped(program.pid):
                await other.send(frame(b"meanwhile"))
                await wait_until(lambda: people.heard[0] == [b"whole", b"meanwhile"], "the message meanwhile")
            program.stdin.write(b"\n")
            await wait_until(lambda: len(people.heard[0]) == 3, "the message that was half")
            assert people.heard[0][2] == b"half and half"
            assert scene.departures == {}


async def test_messages_do_not_age_while_the_server_stands_still() -> None:
    """A subscriber in the middle of them, which reads all the time, is within max_lag_age all the same."""
    # Its pongs may be late: the window that keeps its socket full keeps pings back as well.
    with server_process(max_lag_age=1.5) as server:
        async with crew() as people:
            reader = await RawClient.dial(server.port, receive_buffer=4096)
            people.keep(reader)
            await reader.upgrade(request("/t"))
            publisher = await people.join(server.port, "publisher")
            await publisher.send(frame(bytes(300_000)) + frame(b"small") * 100)
            await wait_until(lambda: server.stats()["sent_bytes"] > 20_000, "a begun message")
            async with stopped(server.pid):
                heard = people.live(reader)
            await wait_until(lambda: len(heard) == 101, "all of them")
            assert departures(server) == {}

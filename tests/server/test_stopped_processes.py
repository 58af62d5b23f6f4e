"""A pause of the server is held against nobody; a pause of a client is its own affair."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.processes import Program
from tests.support.rawclient import PATIENCE, PING, PONG, RawClient, frame, request
from tests.support.server import ServerProcess, server_process, serving, wait_until

# A stop is several times any of these.
DEADLINES = {"ping_interval": 0.2, "pong_deadline": 0.5, "handshake_deadline": 0.5, "subscriber_write_timeout": 0.5}
STOP_SECONDS = 2.5


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with server_process(**DEADLINES, close_deadline=0.5, message_timeout=0.5) as server:
        yield server


@contextlib.asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[None]:
    """The process stands still for STOP_SECONDS, while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        yield
        await wait_until(lambda: time.monotonic() > begun + STOP_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


class Crew:
    """Clients that read all the time, answer pings, and keep what they hear."""

    def __init__(self) -> None:
        self.clients: list[RawClient] = []
        self.heard: list[list[bytes]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, port: int, role: str) -> RawClient:
        client = await RawClient.dial(port)
        self.clients.append(client)
        await client.upgrade(request("/t", role=role))
        self.heard.append([])
        self._tasks.append(asyncio.create_task(self._live(client, self.heard[-1])))
        return client

    async def _live(self, client: RawClient, heard: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # Not read_frame: the time between two pings may be long here.
            data = await loop.sock_recv(client.sock, 1 << 18)
            if not data:
                return
            client.buffer += data
            while len(client.buffer) >= 2 and len(client.buffer) >= 2 + client.buffer[1]:
                got = await client.read_any_frame()
                if got.opcode == PING:
                    await client.send(frame(got.payload, PONG))
                else:
                    heard.append(got.payload)

    @property
    def alive(self) -> int:
        return sum(not task.done() for task in self._tasks)

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            client.close()


@contextlib.asynccontextmanager
async def crew() -> AsyncIterator[Crew]:
    people = Crew()
    try:
        yield people
    finally:
        await people.leave()


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
        settled = time.monotonic() + 1.2
        await wait_until(lambda: time.monotonic() > settled)
        assert departures(server) == {}
        assert people.alive == 101


async def test_a_request_and_a_message_that_were_under_way_are_finished_after_the_stop(server: ServerProcess) -> None:
    async with crew() as people:
        await people.join(server.port, "subscriber")
        publisher = await people.join(server.port, "publisher")
        arriving = await RawClient.dial(server.port)
        people.clients.append(arriving)
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
        people.clients.append(reader)
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
    options = {"ping_interval": 0.2, "pong_deadline": 0.5, "close_deadline": 30.0}
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

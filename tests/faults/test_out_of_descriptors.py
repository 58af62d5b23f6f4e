"""Out of descriptors, accepting pauses: it does not spin, who is inside goes on, who waits is let in afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from pubsub.bench.cost import ServerProcess as Process
from tests.support.crew import Crew, crew
from tests.support.rawclient import RawClient, close_frame, frame, request
from tests.support.server import ServerProcess, server_process, wait_until

FILES, CLIENTS = 40, 60
# For those that are surely inside: the server has some descriptors of its own.
INSIDE = 20
PAUSED_SECONDS = 2.0
# Of one core, over the pause: it takes less than 0.05, and a loop that spins takes all of it.
MOST_BUSY = 0.5


class Crowd:
    """More clients than there are descriptors; the first of them talk."""

    def __init__(self, server: ServerProcess, people: Crew, clients: list[RawClient]) -> None:
        self.server = server
        self.people = people
        self.clients = clients
        self.said = 0

    async def talk(self) -> None:
        """One of those inside says something to the others."""
        self.said += 1
        await self.clients[0].send(frame(b"%d" % self.said))
        inside = self.people.heard[:INSIDE]
        await wait_until(lambda: all(heard[-1:] == [b"%d" % self.said] for heard in inside), "a message for all")


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    with server_process("--files", str(FILES), close_deadline=0.3, handshake_deadline=30.0) as server:
        async with crew() as people:
            for _ in range(CLIENTS):
                people.keep(await RawClient.dial(server.port))
            for client in people.clients:
                await client.send(request("/t", role="duplex"))
            line = await asyncio.to_thread(server.program.wait_line, "accepting pauses", "stderr")
            assert "raise the limit of open files" in line
            for client in people.clients[:INSIDE]:
                assert (await client.read_response()).status == 101
            yield Crowd(server, people, people.clients)


async def test_while_accepting_pauses_the_server_does_not_spin_and_serves_who_is_inside(crowd: Crowd) -> None:
    for client in crowd.clients[:INSIDE]:
        crowd.people.live(client)
    process = Process(crowd.server.pid)
    cpu, begun = process.cpu_seconds(), time.monotonic()
    while (passed := time.monotonic() - begun) < PAUSED_SECONDS:
        await crowd.talk()
        await asyncio.sleep(0.05)
    busy = (process.cpu_seconds() - cpu) / passed
    print(f"busy {busy:.2f}")
    assert busy < MOST_BUSY
    assert crowd.people.alive == INSIDE
    assert crowd.server.stats()["departures"] == {}


def say_goodbye(client: RawClient) -> None:
    client.sock.send(close_frame())
    client.close()


@pytest.mark.parametrize("leave", [RawClient.reset, RawClient.close, say_goodbye], ids=lambda way: way.__name__)
async def test_when_some_leave_those_that_wait_are_let_in(crowd: Crowd, leave: Callable[[RawClient], None]) -> None:
    leaving, waiting = crowd.clients[1:INSIDE], crowd.clients[CLIENTS - INSIDE :]
    for client in leaving:
        leave(client)
    # In the order in which they came, so these are the last; not all of them find room.
    for client in crowd.clients[INSIDE : CLIENTS - INSIDE]:
        assert (await client.read_response()).status == 101
        client.close()
    for client in waiting:
        assert (await client.read_response()).status == 101
    await wait_until(lambda: crowd.server.stats()["subscribers"] == 1 + INSIDE, "only these and the one that stays")
    await crowd.clients[0].send(frame(b"to the late ones"))
    for client in waiting:
        assert await client.read_message() == b"to the late ones"

"""The server's clocks jump, the wall clock by a year, the monotonic one by an hour: nobody departs, deadlines go on.

(That CLOCK_MONOTONIC never goes back POSIX promises; a virtual machine that is moved or woken may make it leap.)
"""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clocks import Clocks, missing_compiler
from tests.support.crew import Crew, crew
from tests.support.processes import Program
from tests.support.rawclient import CONTINUATION, PING, PONG, RawClient, frame, request
from tests.support.server import ServerProcess, server_process, wait_until

pytestmark = pytest.mark.skipif(missing_compiler() != "", reason=f"needs {missing_compiler()}")

YEAR, HOUR = 366 * 86400, 3600
JUMPS = {
    "a year ahead": {"realtime": YEAR},
    "a year back": {"realtime": -YEAR},
    "an hour on": {"monotonic": HOUR},
    "all at once": {"realtime": YEAR, "monotonic": HOUR},
}
DEADLINES: dict[str, Any] = {
    "ping_interval": 0.2,
    "pong_deadline": 2.0,
    "handshake_deadline": 1.0,
    "subscriber_write_timeout": 1.0,
    "message_timeout": 1.0,
    "close_deadline": 0.5,
}
BEATS_SEEN = 5


@pytest.fixture
def clocks(tmp_path: Path) -> Iterator[Clocks]:
    clocks = Clocks(tmp_path)
    yield clocks
    clocks.close()


def departures(server: ServerProcess) -> dict[str, int]:
    found: dict[str, int] = server.stats()["departures"]
    return found


async def count_beats(client: RawClient) -> None:
    """Returns after some pings, each answered."""
    for _ in range(BEATS_SEEN):
        got = await client.read_any_frame()
        assert got.opcode == PING
        await client.send(frame(got.payload, PONG))


class Scenery:
    """Those whom a jump may hit: idle, in the middle of a message, in the middle of a request, with data owed."""

    def __init__(self, server: ServerProcess, people: Crew) -> None:
        self.server = server
        self.people = people

    async def set_up(self) -> None:
        port = self.server.port
        self.publisher = await self.people.join(port, "publisher")
        self.half = await self.people.join(port, "publisher")
        for _ in range(20):
            await self.people.join(port)
        self.arriving = await self.dial()
        self.behind = await self.dial(receive_buffer=4096)
        await self.behind.upgrade(request("/big"))
        big = await self.people.join(port, "publisher", "/big")
        await big.send(frame(bytes(2_000_000)))
        await wait_until(lambda: self.server.stats()["sent_bytes"] > 20_000, "a begun message")
        await self.half.send(frame(b"half and ", fin=False))
        await self.arriving.send(request("/beats")[:-2])

    async def dial(self, *, receive_buffer: int | None = None) -> RawClient:
        client = await RawClient.dial(self.server.port, receive_buffer=receive_buffer)
        self.people.keep(client)
        return client

    async def go_on(self) -> None:
        """All of them, as if nothing had been."""
        await self.arriving.send(request("/beats")[-2:])
        assert (await self.arriving.read_response()).status == 101
        await self.half.send(frame(b"half", CONTINUATION))
        await self.publisher.send(frame(b"and on"))
        assert await self.behind.read_message() == bytes(2_000_000)
        listeners = self.people.heard[2:22]
        await wait_until(lambda: all(len(heard) == 2 for heard in listeners), "both messages")
        assert all(sorted(heard) == [b"and on", b"half and half"] for heard in listeners)
        self.people.live(self.behind)
        await count_beats(self.arriving)


CASES = [pytest.param(jump, 1, id=name) for name, jump in JUMPS.items()]


@pytest.mark.parametrize(("jump", "io_threads"), [*CASES, pytest.param(JUMPS["all at once"], 0, id="event loop")])
async def test_nobody_departs_because_a_clock_jumped(clocks: Clocks, jump: dict[str, int], io_threads: int) -> None:
    environment = clocks.environment
    with server_process(environment=environment, io_threads=io_threads, **DEADLINES) as server:
        await jump_under(server, clocks, jump)


async def jump_under(server: ServerProcess, clocks: Clocks, jump: dict[str, int]) -> None:
    async with crew() as people:
        scenery = Scenery(server, people)
        await scenery.set_up()
        clocks.set(**jump)
        await scenery.go_on()
        assert departures(server) == server.stats()["refusals"] == {}
        await deadlines_are_kept(server, people)


async def deadlines_are_kept(server: ServerProcess, people: Crew) -> None:
    """Of those that come after the jump."""
    silent, slow, arriving = [await RawClient.dial(server.port) for _ in range(3)]
    for client in (silent, slow, arriving):
        people.keep(client)
    await silent.upgrade(request("/deadlines"))
    await slow.upgrade(request("/deadlines", role="publisher"))
    await arriving.send(b"GET /")
    await slow.send(frame(b"begun", fin=False))
    slow.answers_pings = False
    assert (await arriving.read_response()).status == 408
    assert (await slow.read_close())[0] == 1008
    while (got := await silent.read_any_frame()).opcode == PING:
        pass
    assert got.payload[:2] == (1011).to_bytes(2, "big")
    for client in (silent, slow, arriving):
        client.close()
    # Of the crew, too, one may be late with its pongs where this process stands still.
    await wait_until(lambda: {"no_pong", "policy"} <= departures(server).keys(), "two departures")


ASKS = """
import json, time
print(json.dumps([time.time(), time.monotonic()]), flush=True)
input()
print(json.dumps([time.time(), time.monotonic()]), flush=True)
"""


async def test_the_shim_makes_a_process_see_other_times(clocks: Clocks) -> None:
    with Program("-c", ASKS, environment=clocks.environment) as program:
        before = json.loads(await asyncio.to_thread(program.line))
        clocks.set(realtime=YEAR, monotonic=HOUR)
        program.stdin.write(b"\n")
        after = json.loads(await asyncio.to_thread(program.line))
    assert abs(before[0] - time.time()) < HOUR / 2
    assert abs(after[0] - before[0] - YEAR) < HOUR / 2
    assert abs(after[1] - before[1] - HOUR) < HOUR / 2


async def test_the_engine_sees_them_too_so_an_idle_topic_has_lingered_its_time(clocks: Clocks) -> None:
    # It is longer than anybody waits here, and idle topics are looked for every sixteenth of it.
    with server_process(environment=clocks.environment, topic_linger=32.0) as server:
        async with crew() as people:
            await people.join(server.port)
        await wait_until(lambda: departures(server) == {"left": 1}, "its departure")
        assert server.stats()["topics"] == 1
        clocks.set(monotonic=HOUR)
        await wait_until(lambda: server.stats()["topics"] == 0, "the end of the topic")

"""The defaults in real seconds: a server stopped for 30 s, and one whose Python holds the GIL for 15 s.

Both at the same time, each in a process of its own, so that it takes no longer than the longer one.
"""

import asyncio
import contextlib
import os
import signal
import time

import pytest

from tests.support.crew import Crew, crew
from tests.support.processes import stop_process
from tests.support.rawclient import CONTINUATION, RawClient, frame, request
from tests.support.server import ServerProcess, server_process, wait_until
from tests.support.sockets import readable

# Longer than any deadline of the defaults; the GIL longer than pong_deadline and subscriber_write_timeout.
STOPPED_SECONDS, HELD_SECONDS = 30.0, 15.0
# A verdict about the pause would fall by then: a beat is a second at most.
SETTLED_SECONDS = 3.0
SUBSCRIBERS = 50


async def until(moment: float) -> None:
    """wait_until has less patience than these pauses are long."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def a_crowd(people: Crew, port: int) -> RawClient:
    """Fifty who listen, and the one they listen to."""
    for _ in range(SUBSCRIBERS):
        await people.join(port)
    return await people.join(port, "publisher")


async def heard_by_all(people: Crew, *messages: bytes) -> None:
    await wait_until(lambda: people.heard[:SUBSCRIBERS] == [list(messages)] * SUBSCRIBERS, f"{messages[-1]!r} for all")


async def stand_still(server: ServerProcess) -> None:
    async with crew() as people:
        publisher = await a_crowd(people, server.port)
        half = await people.join(server.port, "publisher")
        reader = await RawClient.dial(server.port, receive_buffer=4096)
        people.keep(reader)
        await reader.upgrade(request("/big"))
        big = await people.join(server.port, "publisher", "/big")
        await half.send(frame(b"half and ", fin=False))
        await big.send(frame(bytes(4_000_000)))
        await wait_until(lambda: server.stats()["sent_bytes"] > 20_000, "a begun message")
        # Last before and first after it: of its deadline all but the pause is still this machine's time. That there are
        # stats says that the loop has had a turn, in which it knows of it, or that the pause is over.
        arriving = await RawClient.dial(server.port)
        people.keep(arriving)
        await arriving.send(request("/t")[:-2])
        server.stats()
        stop_process(server.pid)
        begun = time.monotonic()
        try:
            await publisher.send(frame(b"meanwhile"))
            await until(begun + STOPPED_SECONDS)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        server.stats()
        await arriving.send(request("/t")[-2:])
        await heard_by_all(people, b"meanwhile")
        assert (await arriving.read_response()).status == 101
        await half.send(frame(b"half", CONTINUATION))
        await heard_by_all(people, b"meanwhile", b"half and half")
        assert await reader.read_message() == bytes(4_000_000)
        await until(time.monotonic() + SETTLED_SECONDS)
        assert server.stats()["departures"] == server.stats()["refusals"] == {}
        assert people.alive == SUBSCRIBERS + 3


async def hold_the_gil(server: ServerProcess) -> None:
    async with crew() as people:
        publisher = await a_crowd(people, server.port)
        begun = time.monotonic()
        server.hold_gil(HELD_SECONDS)
        server.program.stdin.write(b"\n")
        said: list[bytes] = []
        delivered_meanwhile = 0
        # Delivery needs no Python: messages go on, nearly to the end of it, while its stats have to wait.
        while time.monotonic() < begun + HELD_SECONDS - 2:
            said.append(b"%d" % len(said))
            await publisher.send(frame(said[-1]))
            await heard_by_all(people, *said)
            is_held = not readable(server.program.stdout_fileno)
            assert is_held or time.monotonic() > begun + HELD_SECONDS
            delivered_meanwhile += is_held
            await until(begun + 0.25 * len(said))
        assert delivered_meanwhile
        arriving = await RawClient.dial(server.port)
        people.keep(arriving)
        await arriving.upgrade(request("/t"))
        assert time.monotonic() > begun + HELD_SECONDS
        await publisher.send(frame(b"over"))
        await heard_by_all(people, *said, b"over")
        await until(time.monotonic() + SETTLED_SECONDS)
        server.program.line()  # the stats that had to wait
        assert server.stats()["departures"] == {}
        assert people.alive == SUBSCRIBERS + 1


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_nobody_departs_for_30_s_of_standstill_nor_for_15_s_of_a_held_gil_with_the_defaults() -> None:
    with contextlib.ExitStack() as stack:
        stands_still, holds = [stack.enter_context(server_process()) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            group.create_task(stand_still(stands_still))
            group.create_task(hold_the_gil(holds))

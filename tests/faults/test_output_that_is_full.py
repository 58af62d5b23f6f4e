"""A full disk, or a pipe that nobody reads, behind what `serve` prints: events and log are lost, and it serves on."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.crew import Crew, crew
from tests.support.disks import dev_full, full_disk, full_pipe, missing_mounts
from tests.support.processes import PATIENCE_SECONDS, Program
from tests.support.rawclient import RawClient, frame, request
from tests.support.server import wait_until

# Over what the server has itself.
FILES_LEFT, CLIENTS = 12, 30


@pytest.fixture(params=["/dev/full", "full disk", "full pipe"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    if request.param == "full disk" and (lacks := missing_mounts(tmp_path)):
        pytest.skip(f"needs {lacks}")
    ways = {"/dev/full": dev_full, "full disk": lambda: full_disk(tmp_path), "full pipe": full_pipe}
    with ways[request.param]() as fd:
        yield fd


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def dial_when_it_listens(port: int) -> RawClient:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                return await RawClient.dial(port)
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def conversation(port: int) -> AsyncIterator[tuple[Crew, RawClient]]:
    """A subscriber that lives, and a publisher for it."""
    async with crew() as people:
        subscriber = await dial_when_it_listens(port)
        people.keep(subscriber)
        await subscriber.upgrade(request("/t"))
        people.live(subscriber)
        yield people, await people.join(port, "publisher")


async def run_out_of_descriptors(program: Program, port: int, people: Crew) -> None:
    """So that the server has something to log, again and again; then there are some once more."""
    files = max(map(int, os.listdir(f"/proc/{program.pid}/fd"))) + FILES_LEFT
    hard = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (files, hard))
    clients = [await RawClient.dial(port) for _ in range(CLIENTS)]
    for client in clients:
        people.keep(client)
        await client.send(request("/crowd", role="duplex"))
    await wait_until(lambda: len(os.listdir(f"/proc/{program.pid}/fd")) >= files, "the last descriptor")
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (hard, hard))
    for client in clients:
        assert (await client.read_response()).status == 101


@pytest.mark.parametrize("which", ["stdout", "stderr", "both"])
async def test_serve_goes_on_when_its_output_takes_nothing_more(full: int, which: str) -> None:
    port = free_port()
    streams: dict[str, Any] = {name: full for name in ("stdout", "stderr") if which in (name, "both")}
    arguments = ("-m", "pubsub", "serve", f"127.0.0.1:{port}", "--events", "json", "--drain-seconds", "0.2s")
    with Program(*arguments, **streams) as program:
        async with conversation(port) as (people, publisher):
            await publisher.send(frame(b"before"))
            await wait_until(lambda: people.heard[0] == [b"before"], "the message before")
            await run_out_of_descriptors(program, port, people)
            await publisher.send(frame(b"after"))
            await wait_until(lambda: people.heard[0] == [b"before", b"after"], "the message after")
        program.signal(signal.SIGTERM)
        assert (await asyncio.to_thread(program.finish)).code == 0

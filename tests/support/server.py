"""A running server and its clients: in this process as a `Scene`, or in a process of its own.

    python -m tests.support.server '{"pong_deadline": 0.5}' [--files N]

prints where it listens, answers every empty line of its input with its stats, and closes at the end of its input. A
line with a number of seconds holds the GIL for so long.
"""

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from pubsub.events import Event, EventType
from pubsub.options import Options
from pubsub.server import Server, serve
from tests.support.processes import TESTS_ON_PATH, Program
from tests.support.rawclient import PATIENCE, RawClient, request

__all__ = ["PATIENCE", "Scene", "ServerProcess", "server_process", "serving", "wait_until"]

_LOOK_AGAIN = 0.005


async def wait_until(holds: Callable[[], object], what: str = "the condition") -> None:
    """Returns once `holds()` is true; fails after the patience."""
    try:
        async with asyncio.timeout(PATIENCE):
            # Stats have no event to wait for.
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_AGAIN)
    except TimeoutError:
        raise AssertionError(f"{what} did not come to hold within {PATIENCE:g} s") from None


class Scene:
    """A server, the clients that a test lets loose on it, and the events it told since its start."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.events = server.events()
        self._clients: list[RawClient] = []

    # --- clients ---

    async def dial(self, *, receive_buffer: int | None = None) -> RawClient:
        """A client that is connected and has said nothing."""
        client = await RawClient.dial(self.server.port, receive_buffer=receive_buffer)
        self._clients.append(client)
        return client

    async def join(
        self, target: str = "/t", role: str = "subscriber", *extra: tuple[str, str], receive_buffer: int | None = None
    ) -> RawClient:
        """A client with its 101 and nothing else."""
        client = await self.dial(receive_buffer=receive_buffer)
        await client.upgrade(request(target, *extra, role=role))
        return client

    async def ask(self, data: bytes, *, bytewise: bool = False) -> RawClient:
        """A client whose answer, to whatever `data` is, was read."""
        client = await self.dial()
        await client.send(data, bytewise=bytewise)
        await client.read_response()
        return client

    def hang_up(self) -> None:
        for client in self._clients:
            client.close()

    # --- what the server says ---

    async def next_event(self) -> Event:
        async with asyncio.timeout(PATIENCE):
            return await anext(self.events)

    async def next_events(self, count: int) -> list[tuple[EventType, str, str]]:
        """Type, client id and topic of so many."""
        events = [await self.next_event() for _ in range(count)]
        return [(event.type, event.client_id, event.subscription_topic) for event in events]

    @property
    def departures(self) -> dict[str, int]:
        return dict(self.server.stats().departures)

    async def wait_departures(self, **causes: int) -> None:
        """Returns when exactly these have departed."""
        await wait_until(
            lambda: sum(self.departures.values()) >= sum(causes.values()),
            f"departures {causes} (now {self.departures})",
        )
        assert self.departures == causes, f"departures {self.departures}, and not {causes}"

    async def wait_empty(self) -> None:
        """Returns when nobody is there any more."""

        def empty() -> bool:
            stats = self.server.stats()
            return stats.publishers == stats.subscribers == 0

        await wait_until(empty, "an empty server")


@contextlib.asynccontextmanager
async def serving(*host: str, **options: Any) -> AsyncIterator[Scene]:
    """A server with these options, here or at `host`; its clients hang up before it is closed.

    Among the options may be `port`, else it is a free one, and `sock`, a socket that listens already. It pings nobody
    unless it is told to: a ping comes at a random time, and unread where a client closes it makes a reset of the end.
    """
    options.setdefault("ping_interval", 1e9)
    where = host[0] if host else "127.0.0.1"
    port, sock = options.pop("port", 0), options.pop("sock", None)
    async with serve(where, port, sock=sock, options=Options(**options)) as server:
        scene = Scene(server)
        try:
            yield scene
        finally:
            scene.hang_up()


# --- in a process of its own ----------------------------------------------------------------------------------------


class ServerProcess:
    """The other side of this file as a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.port: int = json.loads(program.line())["port"]

    @property
    def pid(self) -> int:
        return self.program.pid

    def stats(self) -> dict[str, Any]:
        self.program.stdin.write(b"\n")
        answer: dict[str, Any] = json.loads(self.program.line())
        return answer

    def hold_gil(self, seconds: float) -> None:
        """Begins it; until it is over there are no stats."""
        self.program.stdin.write(b"%g\n" % seconds)
        assert self.program.line() == "holding"


@contextlib.contextmanager
def server_process(
    *flags: str, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[ServerProcess]:
    arguments = ["-m", "tests.support.server", json.dumps(options), *flags]
    with Program(*arguments, environment=TESTS_ON_PATH | dict(environment or {})) as program:
        yield ServerProcess(program)


def _hold_gil(seconds: float) -> None:
    print("holding", flush=True)
    # PyDLL: a call into C that does not let go of it.
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


async def _serve(options: Options, files: int | None) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    async with serve(port=0, options=options) as server:
        if files is not None:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
        print(json.dumps({"port": server.port}), flush=True)

        def on_input() -> None:
            data = os.read(sys.stdin.fileno(), 4096)
            for line in data.splitlines():
                if line:
                    _hold_gil(float(line))
                else:
                    print(server.stats().to_json(), flush=True)
            if not data:
                ended.set()

        loop.add_reader(sys.stdin.fileno(), on_input)
        await ended.wait()
        loop.remove_reader(sys.stdin.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that answers each line of its input with its stats.")
    parser.add_argument("options", help="JSON")
    parser.add_argument("--files", type=int, help="RLIMIT_NOFILE")
    arguments = parser.parse_args()
    asyncio.run(_serve(Options(**json.loads(arguments.options)), arguments.files))


if __name__ == "__main__":
    main()

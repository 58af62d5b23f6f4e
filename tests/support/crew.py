"""Clients that live: they read all the time, answer pings, and keep what they hear."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.support.frames import BINARY, PING, PONG, TEXT, parse
from tests.support.rawclient import RawClient, frame, request

__all__ = ["Crew", "crew"]


class Crew:
    """`heard` has the payloads of each, in the order in which they joined."""

    def __init__(self) -> None:
        self.clients: list[RawClient] = []
        self.heard: list[list[bytes]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, port: int, role: str = "subscriber", target: str = "/t") -> RawClient:
        client = await RawClient.dial(port)
        self.keep(client)
        await client.upgrade(request(target, role=role))
        self.live(client)
        return client

    def keep(self, client: RawClient) -> None:
        """It is closed at the end; that is all."""
        self.clients.append(client)

    def live(self, client: RawClient) -> list[bytes]:
        """A client with its 101, kept already; what it hears from now on."""
        self.heard.append([])
        self._tasks.append(asyncio.create_task(_live(client, self.heard[-1])))
        return self.heard[-1]

    @property
    def alive(self) -> int:
        """How many have not been closed by the server."""
        return sum(not task.done() for task in self._tasks)

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            client.close()


async def _live(client: RawClient, heard: list[bytes]) -> None:
    """Until the server closes. No bound of its own: the time between two messages may be long."""
    loop = asyncio.get_running_loop()
    while True:
        frames, rest = parse(client.buffer)
        client.buffer[:] = rest
        for opcode, payload in frames:
            if opcode == PING:
                await client.send(frame(payload, PONG))
            elif opcode in (TEXT, BINARY):
                heard.append(payload)
            elif opcode != PONG:
                return
        data = await loop.sock_recv(client.sock, 1 << 18)
        if not data:
            return
        client.buffer += data


@contextlib.asynccontextmanager
async def crew() -> AsyncIterator[Crew]:
    people = Crew()
    try:
        yield people
    finally:
        await people.leave()

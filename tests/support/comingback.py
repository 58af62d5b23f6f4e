"""Clients that come back: lines that a test cuts, servers that do something else each time, ports that stay.

    line = Line()
    async with Subscriber(url, connect=line.connect, reconnect=AT_ONCE) as subscriber:
        line.hold()
        line.cut()
        ...                     # the subscriber is away, and tries in vain
        line.free()
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ssl import SSLContext
from typing import Any

import websockets

from pubsub import Gap, PubSubError, Reconnect, Server, serve
from pubsub.dialing import Streams, connect_streams
from pubsub.handshake import Refusal
from tests.support.peers import Peer
from tests.support.server import wait_until

__all__ = [
    "AT_ONCE",
    "Line",
    "Told",
    "accept_and_close",
    "in_turn",
    "in_turn_threaded",
    "kept_port",
    "refuse",
    "reset",
    "serving_on",
    "stay",
]

# Random delays from nothing to at most 10 ms: a test has no time for more.
AT_ONCE = Reconnect(first_delay=0.01, max_delay=0.01, steady_after=0.0)

Script = Callable[[Peer], Awaitable[None]]


class Told:
    """What a client's callbacks were told."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.losses: list[PubSubError] = []

    def arguments(self, reconnect: Reconnect = AT_ONCE) -> dict[str, Any]:
        return {"reconnect": reconnect, "on_gap": self.gaps.append, "on_away": self.losses.append}

    async def wait_back(self, count: int = 1) -> None:
        await wait_until(lambda: len(self.gaps) >= count, f"{count} gaps")

    async def wait_away(self) -> None:
        await wait_until(lambda: self.losses, "a loss")


class Line:
    """Connects as clients do, and is in the hands of the test. `attempts` counts the tries, those in vain too."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self._held = False
        self.attempts = 0

    async def connect(self, host: str, port: int, ssl: SSLContext | None, server_hostname: str | None) -> Streams:
        self.attempts += 1
        if self._held:
            raise ConnectionRefusedError("the line is held")
        reader, writer = await connect_streams(host, port, ssl, server_hostname)
        self._writers.append(writer)
        return reader, writer

    def cut(self) -> None:
        """The latest connection is gone, for both ends, without a Close."""
        sock = self._writers[-1].get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writers[-1].transport.abort()

    def hold(self) -> None:
        """No new connections."""
        self._held = True

    def free(self) -> None:
        self._held = False


def in_turn(*scripts: Script) -> Script:
    """A script that is the first one for the first connection, and so on; the last for all that follow."""
    left = list(scripts)

    async def script(peer: Peer) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(peer)

    return script


def in_turn_threaded(*handlers: Callable[[Any], object]) -> Callable[[Any], object]:
    """The same for `threaded_server`."""
    left = list(handlers)

    def serve(peer: Any) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            (left.pop(0) if len(left) > 1 else left[0])(peer)

    return serve


def accept_and_close(code: int, reason: str = "", *, then: Callable[[Peer], bytes] = lambda peer: b"") -> Script:
    """Upgrades, sends what `then` gives, closes with `code`, and waits for the answer."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(then(peer) + peer.connection.close(code, reason))
        await peer.receive_closed()

    return script


def refuse(status: int, *headers: tuple[bytes, bytes]) -> Script:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(Refusal(status, "not now", headers).to_bytes())

    return script


async def stay(peer: Peer) -> None:
    """Upgrades, and closes when the client does."""
    await peer.accept()
    await peer.receive_closed()
    await peer.send(peer.connection.close())


async def reset(peer: Peer) -> None:
    """Upgrades, and is gone."""
    await peer.accept()
    await peer.writer.drain()
    peer.writer.transport.abort()


@contextlib.contextmanager
def kept_port() -> Iterator[socket.socket]:
    """A socket that listens while servers come and go: who connects meanwhile waits in its backlog."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@contextlib.asynccontextmanager
async def serving_on(listener: socket.socket) -> AsyncIterator[Server]:
    """A server on a kept port."""
    async with serve(sock=listener.dup()) as server:
        yield server

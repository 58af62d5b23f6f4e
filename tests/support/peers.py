"""Servers for clients to talk to.

`websockets_server` is another implementation of the protocol, for what any server does. `scripted_server` does what the
test says, byte by byte, for what no good server does.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import websockets.asyncio.server
import websockets.sync.server

from pubsub.connection import Closed, Connection, Happening
from pubsub.handshake import Request
from pubsub.upgrade import ServerUpgrade

__all__ = [
    "SOON",
    "Peer",
    "Received",
    "client_tls",
    "collect",
    "gather",
    "refused_url",
    "scripted_server",
    "server_tls",
    "threaded_server",
    "until_stuck",
    "websockets_server",
]

# Long enough for a turn on a busy machine, short enough to wait for in a test: a deadline that is to pass.
SOON = 0.05

_CERTIFICATE = Path(__file__).with_name("localhost.pem")


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_CERTIFICATE)
    return context


def client_tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(_CERTIFICATE))


Received = list[bytes | str]
Handler = Callable[[websockets.asyncio.server.ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def websockets_server(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a topic on a server of the `websockets` library."""
    async with websockets.asyncio.server.serve(
        handler, "127.0.0.1", 0, ssl=tls, compression=None, max_size=None, ping_interval=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://localhost:{port}/topic" if tls else f"ws://127.0.0.1:{port}/topic"


async def collect(connection: websockets.asyncio.server.ServerConnection) -> Received:
    """Everything a client sends until it closes."""
    return [message async for message in connection]


async def gather(connection: websockets.asyncio.server.ServerConnection, received: list[Received]) -> None:
    """Appends everything a client sends until it closes."""
    received.append(await collect(connection))


@contextlib.contextmanager
def threaded_server(handler: Callable[[websockets.sync.server.ServerConnection], object]) -> Iterator[str]:
    """The same for programs without asyncio: it runs in threads of its own."""

    def serve(connection: websockets.sync.server.ServerConnection) -> None:
        handler(connection)

    with websockets.sync.server.serve(serve, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/topic"
        finally:
            server.shutdown()
            thread.join()


class Peer:
    """A server's end of one connection, in the hands of the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.connection = Connection(client=False)
        self.request: Request
        self._happenings: list[Happening] = []

    async def accept(self, *headers: tuple[bytes, bytes], then: bytes = b"") -> None:
        """Reads the request and answers 101, with `then` in the same write."""
        upgrade = ServerUpgrade()
        outcome = None
        while outcome is None:
            outcome = upgrade.receive(await self.reader.read(65536))
        assert isinstance(outcome, Request), outcome
        self.request = outcome
        self.writer.write(upgrade.accept(headers=headers) + then)

    async def receive(self) -> Happening:
        """The next thing the client sends; fails at the end of the stream."""
        while not self._happenings:
            data = await self.reader.read(65536)
            assert data, "the client hung up"
            self._happenings += self.connection.receive(data)
        return self._happenings.pop(0)

    async def receive_closed(self) -> Closed:
        """The client's Close, after whatever else."""
        while not isinstance(happening := await self.receive(), Closed):
            pass
        return happening

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hang_up(self) -> None:
        """An end without a Close."""
        self.writer.close()
        await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def scripted_server(
    script: Callable[[Peer], Awaitable[None]], *, receive_buffer: int | None = None
) -> AsyncIterator[str]:
    """The URL of a topic on a server that does what `script` says to each connection, and closes its socket afterwards.

    What goes wrong in a script is raised at the end.
    """
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(Peer(reader, writer))
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(serve(reader, writer)))

    listener = socket.create_server(("127.0.0.1", 0))
    if receive_buffer is not None:
        # Connections inherit it. Without a bound of its own the kernel takes megabytes that nobody reads.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = await asyncio.start_server(accept, sock=listener)
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/topic"
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        await server.wait_closed()


async def until_stuck(progress: Callable[[], int]) -> None:
    """Returns when `progress()` is no longer growing: when whoever makes it is held back."""
    before = -1
    while progress() != before:
        before = progress()
        await asyncio.sleep(SOON)


def refused_url() -> str:
    """The URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"ws://127.0.0.1:{listener.getsockname()[1]}/topic"

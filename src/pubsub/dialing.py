"""How a client gets its streams: the connection factory, the upgrade, and what the kernel knows of a stream."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ssl import SSLContext, create_default_context
from typing import NamedTuple

from pubsub.addresses import client_address
from pubsub.errors import ConnectFailed, MisuseError, UpgradeRefused
from pubsub.handshake import fault_of_name
from pubsub.reconnect import checked_seconds
from pubsub.upgrade import Accepted, ClientUpgrade

__all__ = ["Connect", "Dialed", "Dialer", "Headers", "Streams", "connect_streams", "unacknowledged_bytes"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
# A connection factory: host, port, TLS context or None, the name to check the certificate against or None.
Connect = Callable[[str, int, SSLContext | None, str | None], Awaitable[Streams]]

_READ_BYTES = 65536

# The kernel, not a ping of ours, finds out that the server's machine is gone: a server that paces its publishers, or is
# stopped for a while, answers no ping, but its kernel answers these. 20 s idle, then three probes 5 s apart.
_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class Dialed(NamedTuple):
    """Streams to an open WebSocket, the headers of its 101, and every byte that came after it."""

    streams: Streams
    headers: tuple[tuple[str, str], ...]
    leftover: bytes


async def connect_streams(host: str, port: int, ssl: SSLContext | None, server_hostname: str | None) -> Streams:
    """Streams to `host`, with the kernel's keepalive on."""
    reader, writer = await asyncio.open_connection(host, port, ssl=ssl, server_hostname=server_hostname)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return reader, writer


class Dialer:
    """Where a client connects and what it asks for: the same for each of its connections.

    Raises MisuseError for arguments that cannot be used.
    """

    def __init__(
        self,
        url: str | None,
        *,
        role: str,
        name: str,
        headers: Headers,
        ssl: SSLContext | None,
        connect: Connect | None,
        open_timeout: float,
    ) -> None:
        self._address = client_address(url, pubsub_addr=os.environ.get("PUBSUB_ADDR"))
        if ssl is not None and not self._address.secure:
            raise MisuseError(f"ssl is given, but {self.url} has no TLS; use wss://")
        self._headers = _request_headers(role, name, headers)
        self._upgrade()  # shows that it can be made
        self._ssl = ssl
        self._connect = connect or connect_streams
        self._open_timeout = checked_seconds("open_timeout", open_timeout)

    @property
    def url(self) -> str:
        return self._address.url

    def _upgrade(self) -> ClientUpgrade:
        return ClientUpgrade(host=self._address.host_header, target=self._address.target, headers=self._headers)

    async def dial(self) -> Dialed:
        """An open WebSocket. Raises ConnectFailed, UpgradeRefused, PeerError; leaves nothing open then."""
        limit = asyncio.timeout(self._open_timeout)
        try:
            async with limit:
                return await self._open(self._upgrade())
        except ConnectFailed:
            raise
        except OSError as error:
            if limit.expired():
                text = f"{self.url} did not answer within open_timeout={self._open_timeout:g} s; raise it, or try later"
            else:
                text = f"cannot connect to {self.url}: {error}; is a server there? `fastpubsub serve` starts one"
            raise ConnectFailed(text) from error

    async def _open(self, upgrade: ClientUpgrade) -> Dialed:
        address, ssl = self._address, self._ssl
        if address.secure and ssl is None:
            ssl = create_default_context()
        reader, writer = await self._connect(address.host, address.port, ssl, address.host if ssl else None)
        try:
            writer.write(upgrade.request)
            await writer.drain()
            accepted = await _answer(reader, upgrade)
        except BaseException:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            raise
        return Dialed((reader, writer), accepted.headers, upgrade.leftover)


def _request_headers(role: str, name: str, extra: Headers) -> list[tuple[str, str]]:
    fault = fault_of_name(name)
    if fault is not None:
        raise MisuseError(fault)
    given = list(extra.items() if isinstance(extra, Mapping) else extra)
    if any(header.lower() == "pubsub" for header, _ in given):
        raise MisuseError(f"header pubsub is what makes this a {role}; leave it out")
    own = [("pubsub", role)] + ([("pubsub-client-name", name)] if name else [])
    return own + given


async def _answer(reader: asyncio.StreamReader, upgrade: ClientUpgrade) -> Accepted:
    while True:
        data = await reader.read(_READ_BYTES)
        outcome = upgrade.receive(data)
        if isinstance(outcome, Accepted):
            return outcome
        if outcome is not None and not data and not isinstance(outcome, UpgradeRefused):
            # It broke no rule of the protocol: a server that stops, or a proxy whose server did, ends so.
            raise ConnectFailed(str(outcome))
        if outcome is not None:
            raise outcome


def unacknowledged_bytes(writer: asyncio.StreamWriter) -> int:
    """Bytes written to the stream that the peer's kernel has not acknowledged, as far as can be told."""
    waiting = writer.transport.get_write_buffer_size()
    sock = writer.get_extra_info("socket")
    return waiting if sock is None or sock.fileno() < 0 else waiting + _kernel_queue(sock.fileno())


def _kernel_queue(descriptor: int) -> int:
    # Asked for here and not above: neither module is on every system, and TIOCOUTQ is SIOCOUTQ on Linux only.
    try:
        import fcntl
        import termios

        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except (ImportError, AttributeError, OSError):
        return 0
    return int.from_bytes(answer, "little")

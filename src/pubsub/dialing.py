"""How a client gets its streams: the connection factory, the upgrade, and what the kernel knows of a stream."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from ssl import SSLContext, create_default_context

from pubsub.addresses import ClientAddress
from pubsub.connection import Accepted, ClientUpgrade
from pubsub.errors import ConnectFailed

__all__ = ["Connect", "Streams", "connect_streams", "open_in_time", "unacknowledged_bytes"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# A connection factory: host, port, TLS context or None, the name to check the certificate against or None.
Connect = Callable[[str, int, SSLContext | None, str | None], Awaitable[Streams]]

_READ_BYTES = 65536

# The kernel, not a ping of ours, finds out that the server's machine is gone: a server that paces its publishers, or is
# stopped for a while, answers no ping, but its kernel answers these. 20 s idle, then three probes 5 s apart.
_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


async def connect_streams(host: str, port: int, ssl: SSLContext | None, server_hostname: str | None) -> Streams:
    """Streams to `host`, with the kernel's keepalive on."""
    reader, writer = await asyncio.open_connection(host, port, ssl=ssl, server_hostname=server_hostname)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return reader, writer


async def open_in_time(
    address: ClientAddress, upgrade: ClientUpgrade, connect: Connect, ssl: SSLContext | None, open_timeout: float
) -> tuple[Streams, Accepted]:
    """Streams to an open WebSocket. Raises ConnectFailed, UpgradeRefused, PeerError; leaves nothing open then."""
    limit = asyncio.timeout(open_timeout)
    try:
        async with limit:
            return await _open(address, upgrade, connect, ssl)
    except OSError as error:
        if limit.expired():
            text = f"{address.url} did not answer within open_timeout={open_timeout:g} s; raise it, or try later"
        else:
            text = f"cannot connect to {address.url}: {error}; is a server there? `fastpubsub serve` starts one"
        raise ConnectFailed(text) from error


async def _open(
    address: ClientAddress, upgrade: ClientUpgrade, connect: Connect, ssl: SSLContext | None
) -> tuple[Streams, Accepted]:
    if address.secure and ssl is None:
        ssl = create_default_context()
    reader, writer = await connect(address.host, address.port, ssl, address.host if ssl else None)
    try:
        writer.write(upgrade.request)
        await writer.drain()
        outcome = None
        while outcome is None:
            outcome = upgrade.receive(await reader.read(_READ_BYTES))
        if not isinstance(outcome, Accepted):
            raise outcome
    except BaseException:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        raise
    return (reader, writer), outcome


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

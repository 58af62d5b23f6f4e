"""Pairs of connected sockets, one end for the engine and one for its peer; and who counts descriptors."""

import contextlib
import os
import select
import socket
from collections.abc import Iterator

__all__ = ["Pair", "descriptors_unchanged", "readable", "tcp_pair", "unix_pair"]

Pair = tuple[socket.socket, socket.socket]


def unix_pair(*, send_buffer: int | None = None, receive_buffer: int | None = None) -> Pair:
    """(the engine's end, the peer's end); `send_buffer` is the engine's, and 0 the least the kernel allows."""
    ours, theirs = socket.socketpair()
    return _sized(ours, theirs, send_buffer, receive_buffer)


def tcp_pair(*, send_buffer: int | None = None, receive_buffer: int | None = None) -> Pair:
    """The same over TCP loopback; `receive_buffer` is the peer's."""
    theirs = socket.socket()
    if receive_buffer is not None:
        # Before the handshake: afterwards the window that was offered stands.
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    with socket.create_server(("127.0.0.1", 0)) as door:
        theirs.connect(door.getsockname())
        ours, _ = door.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _sized(ours, theirs, send_buffer, None)


def _sized(ours: socket.socket, theirs: socket.socket, send_buffer: int | None, receive_buffer: int | None) -> Pair:
    if send_buffer is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if receive_buffer is not None:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    theirs.setblocking(False)
    return ours, theirs


def readable(fileno: int, seconds: float = 0.0) -> bool:
    # poll(2), because select(2) ends at descriptor 1,023.
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@contextlib.contextmanager
def descriptors_unchanged() -> Iterator[None]:
    """Fails when there are more descriptors afterwards."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before

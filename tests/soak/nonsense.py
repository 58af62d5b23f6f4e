"""Clients that break a rule. The server must say which one, to them and in its count, and nobody else may notice."""

import contextlib
import re
import socket
from collections.abc import Awaitable, Callable

from tests.soak.ground import Ground, read_out
from tests.support.rawclient import BINARY, CONTINUATION, PING, PONG, TEXT, RawClient, close_frame, frame, request

__all__ = ["NONSENSE"]

_MIB = 1 << 20
_BAD_FRAMES = (
    frame(b"x", rsv=4),
    frame(b"x", 0x3),
    frame(b"x", 0xB),
    frame(b"x", masked=False),
    frame(b"x", length_bytes=3),
    frame(b"x", length_bytes=9),
    frame(b"x" * 126, PING),
    frame(b"x", PING, fin=False),
    frame(b"x", CONTINUATION),
    frame(b"x", fin=False) + frame(b"y"),
    close_frame(1005),
)
_NOT_TEXT = (b"\xff", b"ab\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82")
_BAD_HEADS = (
    b"GARBAGE\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /t?pubsub=subscriber HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    request(role=None),
    request(role="emperor"),
    request("/t", ("Origin", "https://elsewhere.example")),
    request("/t", ("pubsub-client-name", "no spaces")),
    request("/t", ("X", "y" * 5000)),
    request("/" + "t" * 256),
    request(without=["Sec-WebSocket-Key"]),
    request(without=["Host"]),
)


async def _say(ground: Ground, kind: str, data: bytes, cause: str, *, role: str | None = None) -> None:
    """Joins, says that, and is closed for it."""
    name = ground.name(kind)
    async with ground.join(name, ground.steady_topic(), role or ground.role()) as client:
        ground.ended(name, cause)
        with contextlib.suppress(ConnectionError):  # the server may have seen enough before all of it was sent
            await client.send(data)
        await read_out(client)


async def bad_frame(ground: Ground) -> None:
    await _say(ground, "bad_frame", ground.random.choice(_BAD_FRAMES), "protocol_error")


async def bad_text(ground: Ground) -> None:
    # Whose messages are thrown away, theirs are not looked at so closely.
    data = ground.random.choice(_NOT_TEXT)
    await _say(ground, "bad_text", frame(data, TEXT), "bad_data", role="publisher")


async def oversized(ground: Ground) -> None:
    """Over max_message_bytes: in one frame that claims to be larger still, or in fragments."""
    if ground.random.random() < 0.7:
        data = frame(bytes(2 * _MIB + 1000), announced=ground.random.choice((3 * _MIB, 1 << 40, (1 << 63) - 1)))
    else:
        data = frame(bytes(_MIB), BINARY, fin=False) + 2 * frame(bytes(_MIB // 2 + 1), CONTINUATION, fin=False)
    # A subscriber is closed before that, for sending so much at all.
    await _say(ground, "oversized", data, "too_big", role="publisher")


async def too_much(ground: Ground) -> None:
    """Over what one client may send: frames of a message, or control frames."""
    role, data = ground.random.choice(
        (
            ("publisher", frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 2000),
            ("subscriber", frame(b"", PONG) * 2001),
            ("publisher", frame(b"", PING) * 2001),
        )
    )
    await _say(ground, "too_much", data, "policy", role=role)


async def bad_head(ground: Ground) -> None:
    await _be_refused(ground, "bad_head", ground.random.choice(_BAD_HEADS))


async def slow_head(ground: Ground) -> None:
    """A head that comes byte by byte, and not within handshake_deadline."""
    ground.name("slow_head")
    head = request("/t")
    async with ground.dial() as client:
        for index in range(len(head) - 2):
            try:
                await client.send(head[index : index + 1])
            except ConnectionError:
                break
            await ground.stay(0.1)
            if _has_bytes(client) or ground.leaving.is_set():
                break
        await _note_refusal(ground, client)


async def _be_refused(ground: Ground, kind: str, head: bytes) -> None:
    ground.name(kind)
    async with ground.dial() as client:
        with contextlib.suppress(ConnectionError):
            await client.send(head)
        await _note_refusal(ground, client)


async def _note_refusal(ground: Ground, client: RawClient) -> None:
    """Reads the answer to its end. Its status is counted, as the server counts it."""
    with contextlib.suppress(ConnectionError):
        while await client.read_some():
            pass
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", bytes(client.buffer[:20]))
    if found is None:
        ground.faults.append(f"a head was answered with {bytes(client.buffer[:60])!r}, which is no refusal")
    else:
        ground.refusals[int(found[1])] += 1


def _has_bytes(client: RawClient) -> bool:
    with contextlib.suppress(BlockingIOError):
        client.sock.recv(1, socket.MSG_PEEK)
        return True
    return False


NONSENSE: dict[Callable[[Ground], Awaitable[None]], float] = {
    bad_frame: 5,
    bad_text: 2,
    oversized: 1,
    too_much: 2,
    bad_head: 5,
    slow_head: 1,
}

"""A client that does what it is told and nothing else: any bytes, in any pieces, and it reads only when asked to.

Nothing of the project's own protocol code is used here, so that it cannot agree with itself about a mistake.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "KEY",
    "PATIENCE",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "RawClient",
    "Response",
    "close_frame",
    "frame",
    "request",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# RFC 6455 section 1.3's own example, and the answer it must get.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

# How long anything that must happen may take on a busy machine.
PATIENCE = 15.0


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


# --- bytes to send --------------------------------------------------------------------------------------------------


def request(
    target: str = "/t",
    *extra: tuple[str, str],
    role: str | None = "subscriber",
    without: Sequence[str] = (),
    line: str | None = None,
) -> bytes:
    """An upgrade as RFC 6455 section 4.1 has it, with a role by header; less `without`, plus `extra`."""
    headers = [
        ("Host", "127.0.0.1:8080"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]
    kept = [(name, value) for name, value in headers if name not in without]
    roles = [("pubsub", role)] if role else []
    lines = [f"{name}: {value}" for name, value in [*kept, *roles, *extra]]
    return "\r\n".join([line or f"GET {target} HTTP/1.1", *lines, "", ""]).encode("utf-8")


def frame(
    payload: bytes | str = b"",
    opcode: int = BINARY,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length_bytes: int | None = None,
    announced: int | None = None,
    mask: bytes | None = None,
) -> bytes:
    """A client's frame. `length_bytes` (1, 3 or 9) forces a length field; `announced` lies about the length; `mask` is
    random where it is not given."""
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data) if announced is None else announced
    width = length_bytes or (1 if size < 126 else 3 if size < 1 << 16 else 9)
    high = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if width == 1:
        head += bytes([high | size])
    elif width == 3:
        head += struct.pack(">BH", high | 126, size)
    else:
        head += struct.pack(">BQ", high | 127, size)
    if not masked:
        return head + data
    mask = os.urandom(4) if mask is None else mask
    return head + mask + masked_payload(data, mask)


def masked_payload(data: bytes, mask: bytes) -> bytes:
    whole = mask * (len(data) // 4 + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole[: len(data)], "big")).to_bytes(len(data), "big")


def close_frame(code: int | None = 1000, reason: bytes | str = b"") -> bytes:
    body = reason.encode() if isinstance(reason, str) else reason
    return frame(b"" if code is None else struct.pack(">H", code) + body, CLOSE)


# --- the client -----------------------------------------------------------------------------------------------------


class RawClient:
    """One TCP connection. Every wait has a bound; what the server sends is read only inside the `read_` methods."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.response: Response | None = None
        self.buffer = bytearray()
        self.answers_pings = True

    @classmethod
    async def dial(
        cls, port: int, host: str = "127.0.0.1", *, receive_buffer: int | None = None, sock: socket.socket | None = None
    ) -> "RawClient":
        """`sock` is one that was made elsewhere, in another network namespace; it is the client's."""
        if sock is None:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    @property
    def header(self) -> dict[str, str]:
        """The headers of the answer, names in lower case."""
        assert self.response is not None
        return self.response.headers

    @property
    def client_id(self) -> str:
        return self.header["pubsub-client-id"]

    async def upgrade(self, head: bytes, *, bytewise: bool = False, also: bytes = b"") -> None:
        """Sends a request, with the bytes of `also` right behind it, and insists on the 101."""
        await self.send(head + also, bytewise=bytewise)
        response = await self.read_response()
        assert response.status == 101, response
        assert response.headers["sec-websocket-accept"] == ACCEPT

    # --- sending ---

    async def send(self, data: bytes, *, bytewise: bool = False) -> None:
        """`bytewise`: every byte a packet, with a turn of the loop in between so that a server here reads it alone."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            if not bytewise:
                await loop.sock_sendall(self.sock, data)
                return
            for index in range(len(data)):
                await loop.sock_sendall(self.sock, data[index : index + 1])
                await asyncio.sleep(0)

    def finish(self) -> None:
        """End of our stream; reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Gone without a FIN: the peer gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # --- reading ---

    async def read_some(self) -> bool:
        """Reads what there is, waiting for the first byte; False at the end of the stream."""
        async with asyncio.timeout(PATIENCE):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 18)
        self.buffer += data
        return bool(data)

    async def _fill(self, size: int) -> None:
        while len(self.buffer) < size:
            if not await self.read_some():
                raise EOFError(
                    f"the stream ended {size - len(self.buffer)} bytes early, after {bytes(self.buffer[:200])!r}"
                )

    def _take(self, size: int) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def read_response(self) -> Response:
        """The HTTP response: of a 101 its head, else with its body, which must end the stream."""
        while b"\r\n\r\n" not in self.buffer:
            await self._fill(len(self.buffer) + 1)
        head, _, _ = bytes(self.buffer).partition(b"\r\n\r\n")
        self._take(len(head) + 4)
        line, *rest = head.decode("ascii").split("\r\n")
        pairs = (each.split(": ", 1) for each in rest)
        headers = {name.lower(): value for name, value in pairs}
        status = int(line.split(" ")[1])
        assert line.startswith("HTTP/1.1 ")
        body = "" if status == 101 else (await self.read_rest()).decode("utf-8")
        if status != 101:
            assert headers["content-length"] == str(len(body.encode()))
        self.response = Response(status, headers, body)
        return self.response

    async def read_rest(self) -> bytes:
        """Everything up to the end of the stream."""
        while await self.read_some():
            pass
        return self._take(len(self.buffer))

    async def read_any_frame(self) -> Frame:
        """The next frame, whatever it is. A server's frame must not be masked."""
        await self._fill(2)
        first, second = self.buffer[0], self.buffer[1]
        assert not second & 0x80, "a server's frame is masked"
        assert not first & 0x70, "a reserved bit is set"
        size, head = second & 0x7F, 2
        if size >= 126:
            head = 4 if size == 126 else 10
            await self._fill(head)
            size = int.from_bytes(self.buffer[2:head], "big")
        await self._fill(head + size)
        self._take(head)
        return Frame(first & 0xF, self._take(size), bool(first & 0x80))

    async def read_frame(self) -> Frame:
        """The next frame that is no ping; pings are answered on the way, unless `answers_pings` is off."""
        async with asyncio.timeout(PATIENCE):
            while (got := await self.read_any_frame()).opcode == PING:
                if self.answers_pings:
                    await self.send(frame(got.payload, PONG))
            return got

    async def read_message(self) -> bytes | str:
        got = await self.read_frame()
        assert got.opcode in (TEXT, BINARY) and got.fin, got
        return got.payload.decode() if got.opcode == TEXT else got.payload

    async def read_messages(self, count: int) -> list[bytes | str]:
        return [await self.read_message() for _ in range(count)]

    async def read_close(self) -> tuple[int | None, str]:
        """Code and reason of the Close, which must be the next frame."""
        got = await self.read_frame()
        assert got.opcode == CLOSE, got
        if not got.payload:
            return None, ""
        return int.from_bytes(got.payload[:2], "big"), got.payload[2:].decode()

    async def read_end(self) -> None:
        """The end of the stream, which must be next, and not a reset."""
        assert not await self.read_some(), bytes(self.buffer)

    async def read_reset(self) -> None:
        """A reset, after whatever was still to be read."""
        try:
            while await self.read_some():
                pass
        except ConnectionResetError:
            return
        raise AssertionError("the stream ended in order, not with a reset")

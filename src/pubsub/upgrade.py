"""Upgrades, bytes in and bytes out, of both sides.

    ServerUpgrade   a client's request   ->  Request or Refusal;  accept() -> the 101.  A plain request may be read by a
                                             scanner that the caller lends; then no wsproto object is made for it
    ClientUpgrade   our request          ->  Accepted or an error

What comes after either is a Connection's (connection.py), and with that one this is the only importer of wsproto.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import h11
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, RejectData
from wsproto.events import Request as WsRequest
from wsproto.handshake import H11Handshake
from wsproto.utilities import ProtocolError, generate_accept_token

from pubsub import http_door
from pubsub.errors import MisuseError, PeerError, UpgradeRefused, shown
from pubsub.handshake import Headers, Refusal, Request, bad_request, host_of_target

__all__ = ["Accepted", "ClientUpgrade", "Scan", "ServerUpgrade"]


# The end of a head, as h11 finds it: it takes a bare line feed as the end of a line too (RFC 9112 section 2.2).
_HEAD_END = re.compile(rb"\n\r?\n")


class _Head:
    """Collects bytes up to the blank line that ends a head."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def first(self) -> int:
        return self._buffer[0]

    def split(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Head and what follows it; None while there is no blank line."""
        seen = len(self._buffer)
        self._buffer += data
        end = _HEAD_END.search(self._buffer, max(0, seen - 2))
        if end is None:
            return None
        return bytes(self._buffer[: end.end()]), bytes(self._buffer[end.end() :])

    def is_over(self) -> bool:
        return len(self._buffer) >= self._limit


# Target, host, key, headers, subprotocols and size of a head; None for one that is not plain or not complete.
Scan = Callable[[bytes, int], tuple[str, str, bytes, list[tuple[bytes, bytes]], tuple[str, ...], int] | None]


class ServerUpgrade:
    """Reads one request. `leftover` is every byte that came after its head: the client's first frames.

    `scan` is a shortcut for plain requests that come in one piece: it must read them as wsproto does. What it does not
    take, and without it everything, is wsproto's.
    """

    __slots__ = ("_handshake", "_head", "_is_accepted", "_key", "_max_head_bytes", "_outcome", "_scan", "leftover")

    def __init__(self, *, max_head_bytes: int = 16384, scan: Scan | None = None) -> None:
        self._scan = scan
        self._key = b""
        self._handshake: H11Handshake | None = None  # of a request that was not scanned
        self._head = _Head(max_head_bytes)
        self._max_head_bytes = max_head_bytes
        self._outcome: Request | Refusal | None = None
        self._is_accepted = False
        self.leftover = b""

    def receive(self, data: bytes) -> Request | Refusal | None:
        """The request, or why there is none; None while its head is not complete. How bytes are cut does not matter."""
        if self._outcome is not None:
            self.leftover += data
            return None
        if data:
            self._outcome = self._scanned(data) or self._read(data)
        return self._outcome

    def _scanned(self, data: bytes) -> Request | None:
        # Once: what is cut is put together below.
        scan, self._scan = self._scan, None
        found = scan(data, self._max_head_bytes) if scan else None
        if found is None:
            return None
        target, host, self._key, headers, subprotocols, head_bytes = found
        self.leftover = data[head_bytes:]
        return Request(target, host, headers, subprotocols)

    def _read(self, data: bytes) -> Request | Refusal | None:
        parts = self._head.split(data)
        if not 0x20 < self._head.first() < 0x7F:
            # Most often a ClientHello: a client that speaks TLS to a port that does not.
            return bad_request("the first byte is not HTTP's; connect with ws:// or http:// where the port has no TLS")
        if parts is None:
            return http_door.head_too_large(self._max_head_bytes) if self._head.is_over() else None
        head, self.leftover = parts
        if len(head) > self._max_head_bytes:
            return http_door.head_too_large(self._max_head_bytes)
        return http_door.check_head(head) or self._request(head)

    def _request(self, head: bytes) -> Request | Refusal:
        self._handshake = H11Handshake(ConnectionType.SERVER)
        try:
            self._handshake.receive_data(head)
            event = cast(WsRequest, next(self._handshake.events()))
        except (ProtocolError, ValueError, StopIteration) as error:
            # ValueError: a Host that is not IDNA, for one.
            return http_door.refuse(head, str(error))
        host = host_of_target(event.target)
        if host is None:
            # Not wsproto's, which has it decoded: there are names that cannot be encoded again, or not to the same.
            host = http_door.host_in(head)
        refusal = http_door.check_headers(event.extra_headers)
        return refusal or Request(event.target, host, event.extra_headers, tuple(filter(None, event.subprotocols)))

    def accept(self, *, subprotocol: str | None = None, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
        """The 101. Only after `receive` gave a Request; `subprotocol` is one that the request offers."""
        if type(self._outcome) is not Request or self._is_accepted:
            raise MisuseError("there is no request to accept; accept once, after receive() gave a Request")
        try:
            if self._handshake is None:
                head = _switching(self._key, self._outcome, subprotocol, headers)
            else:
                head = self._handshake.send(AcceptConnection(subprotocol=subprotocol, extra_headers=list(headers)))
        except (ProtocolError, h11.LocalProtocolError) as error:
            raise MisuseError(f"this request cannot be accepted so: {error}; mend subprotocol or headers") from error
        self._is_accepted = True
        return head


# As wsproto and h11 write it, which takes them 35 us.
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


def _switching(key: bytes, request: Request, subprotocol: str | None, headers: Headers) -> bytes:
    """The 101 for a request that wsproto has not seen."""
    head = _SWITCHING + generate_accept_token(key)
    if subprotocol is not None:
        if subprotocol not in request.subprotocols:
            raise ProtocolError(f"unexpected subprotocol {subprotocol}")
        head += b"\r\nSec-WebSocket-Protocol: " + subprotocol.encode("ascii")
    for name, value in headers:
        if b"\r" in value or b"\n" in value:
            raise ProtocolError(f"header {name!r} is of more than one line")
        head += b"\r\n%b: %b" % (name, value)
    return head + b"\r\n\r\n"


class Accepted(NamedTuple):
    """The server's 101."""

    headers: tuple[tuple[str, str], ...]
    subprotocol: str | None


# What the handshake itself sends; a second one would contradict it.
_OURS = frozenset({"host", "upgrade", "connection", "content-length", "transfer-encoding"})
# A proxy's error page may be long; its first lines say what there is to say.
_KEPT_BODY_BYTES = 16384


class ClientUpgrade:
    """Asks a server for a WebSocket. `request` is what to send; `leftover` is every byte that came after the 101.

    Raises MisuseError for headers that HTTP does not allow, or that the handshake sends itself.
    """

    __slots__ = ("_body", "_handshake", "_head", "_max_head_bytes", "_refused", "leftover", "request")

    def __init__(
        self,
        *,
        host: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        max_head_bytes: int = 65536,
    ) -> None:
        self._handshake = H11Handshake(ConnectionType.CLIENT)
        self._head: _Head | None = _Head(max_head_bytes)
        self._max_head_bytes = max_head_bytes
        self._refused: RejectConnection | None = None
        self._body = b""
        self.leftover = b""
        self.request = self._make_request(host, target, list(headers), list(subprotocols))

    def _make_request(self, host: str, target: str, headers: list[tuple[str, str]], subprotocols: list[str]) -> bytes:
        for name, _ in headers:
            if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
                raise MisuseError(f"header {shown(name)} belongs to the handshake; leave it out")
        try:
            raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
            return self._handshake.send(
                WsRequest(host=host, target=target, extra_headers=raw, subprotocols=subprotocols)
            )
        except (ValueError, h11.LocalProtocolError) as error:
            raise MisuseError(f"the request for {shown(target)} is not HTTP: {error}; mend host or headers") from error

    def receive(self, data: bytes) -> Accepted | PeerError | None:
        """The 101, or what came instead of one; None while more is to come. Empty `data` is the end of the stream."""
        if self._head is None:
            return self._feed(data)
        parts = self._head.split(data) if data else None
        if parts is None:
            if not data:
                return PeerError("the server hung up instead of answering; is it a WebSocket server, and is it TLS?")
            return self._too_long() if self._head.is_over() else None
        self._head = None
        if http_door.has_controls(parts[0]):
            return PeerError("the server's answer is no WebSocket's: its head has control characters")
        outcome = self._feed(parts[0])
        if outcome is None:
            return self._feed(parts[1]) if parts[1] else None
        self.leftover = parts[1]
        return outcome

    def _too_long(self) -> PeerError:
        return PeerError(f"the server's answer has a head over {self._max_head_bytes} bytes; is it a WebSocket server?")

    def _feed(self, data: bytes) -> Accepted | PeerError | None:
        try:
            self._handshake.receive_data(data)
        except (ProtocolError, ValueError, h11.RemoteProtocolError) as error:
            # A body that breaks off does not undo the refusal before it.
            return self._refusal() or PeerError(f"the server's answer is no WebSocket's: {error}")
        for event in self._handshake.events():
            if type(event) is AcceptConnection:
                return Accepted(_texts(event.extra_headers), event.subprotocol)
            if type(event) is RejectConnection:
                self._refused = event
            elif type(event) is RejectData:
                self._body = (self._body + event.data)[:_KEPT_BODY_BYTES]
                if event.body_finished or len(self._body) == _KEPT_BODY_BYTES:
                    return self._refusal()
        if not data or (self._refused and not self._refused.has_body):
            return self._refusal()
        return None

    def _refusal(self) -> UpgradeRefused | None:
        if self._refused is None:
            return None
        body = self._body.decode("utf-8", "replace")
        return UpgradeRefused(self._refused.status_code, body, _texts(self._refused.headers))


def _texts(headers: Headers) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in headers)

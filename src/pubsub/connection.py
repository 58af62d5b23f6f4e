"""An open WebSocket, bytes in and bytes out: frames to Piece, Ping, Pong and Closed, and back.

With upgrade.py the only importer of wsproto. The object that wsproto's handshake makes for the time afterwards is not
used: a Connection is made anew, so that it can begin wherever a message may begin, and a connection that needs none has
none. No private attribute of wsproto is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

from wsproto.connection import Connection as WsConnection
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.events import Ping as WsPing
from wsproto.events import Pong as WsPong
from wsproto.frame_protocol import CloseReason

from pubsub.closing import BAD_DATA, NO_STATUS, NORMAL, POLICY, may_be_sent
from pubsub.errors import MisuseError, shown

__all__ = [
    "NOT_TEXT",
    "Buffer",
    "Closed",
    "Connection",
    "Happening",
    "Piece",
    "Ping",
    "Pong",
    "too_many_fragments",
]


class Buffer(Protocol):
    """Anything with bytes: bytes, bytearray, memoryview, array. What Python 3.12 calls collections.abc.Buffer."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class Piece(NamedTuple):
    """A part of a message, text as str. The pieces of a message come in order; `last` ends it. It may be empty.

    `frame_last` ends the frame that it is of.
    """

    data: bytes | str
    last: bool
    frame_last: bool = True


class Ping(NamedTuple):
    """The peer's ping, to be answered with `Connection.pong(payload)`."""

    payload: bytes


class Pong(NamedTuple):
    """The peer's pong: the payload of a ping of ours, or anything."""

    payload: bytes


class Closed(NamedTuple):
    """The last thing a Connection receives.

    With `error`, the peer broke the protocol: `code` and `reason` are what we must close with. Without, they are those
    of the peer's Close (1005 when it had no code), to be answered with `Connection.close(code)`.
    """

    code: int
    reason: str
    error: bool
    limit: str = ""  # the option that was exceeded, where that is the fault


Happening = Piece | Ping | Pong | Closed


def too_many_fragments(limit: int) -> Closed:
    return Closed(POLICY, f"message of more than max_fragments={limit} frames", error=True, limit="max_fragments")


# What we close with where a text message is not UTF-8.
NOT_TEXT = "text is not UTF-8"

_SENT = frozenset({ConnectionState.LOCAL_CLOSING, ConnectionState.CLOSED})
_RECEIVED = frozenset({ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED})


class Connection:
    """One side of an open WebSocket. What a peer sends never raises; a caller's mistake is a MisuseError.

    wsproto keeps the state: OPEN, then LOCAL_CLOSING (our Close is out) or REMOTE_CLOSING (theirs is in), then CLOSED.
    The one fact it does not keep is that it failed to parse, after which nothing that arrives has a meaning.

    `max_fragments` bounds the frames of a message (0: no bound); a Closed with the fault tells of one more.
    """

    __slots__ = ("_deaf", "_fragments", "_in_frame", "_max_fragments", "_ws")

    def __init__(self, *, client: bool, max_fragments: int = 0) -> None:
        self._ws = WsConnection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
        self._deaf = False
        self._max_fragments = max_fragments
        self._fragments = 0  # of the message that is arriving
        self._in_frame = False

    @property
    def close_sent(self) -> bool:
        return self._ws.state in _SENT

    @property
    def close_received(self) -> bool:
        return self._ws.state in _RECEIVED

    def receive(self, data: bytes) -> list[Happening]:
        """What `data` brought, in order. After a Closed, everything is dropped in silence."""
        # The server's way for every byte of every publisher: nothing here that can be left out.
        if self._deaf:
            return []
        happenings: list[Happening] = []
        self._ws.receive_data(data)
        for event in cast("Iterator[Any]", self._ws.events()):
            kind = type(event)
            if kind is BytesMessage or kind is TextMessage:
                if self._max_fragments and self._is_one_too_many(event):
                    happenings.append(too_many_fragments(self._max_fragments))
                    break
                finished = event.frame_finished
                happenings.append(Piece(event.data, finished and event.message_finished, finished))
            elif kind is WsPing:
                happenings.append(Ping(event.payload))
            elif kind is WsPong:
                happenings.append(Pong(event.payload))
            elif kind is CloseConnection:
                happenings.append(self._closed(event))
        return happenings

    def _is_one_too_many(self, event: BytesMessage | TextMessage) -> bool:
        if not self._in_frame:
            self._fragments += 1
        self._in_frame = not event.frame_finished
        if self._fragments > self._max_fragments:
            self._deaf = True
            return True
        if event.frame_finished and event.message_finished:
            self._fragments = 0
        return False

    def _closed(self, event: CloseConnection) -> Closed:
        # wsproto tells of a failure to parse with the same event as of a Close; only its state knows which it was.
        self._deaf = True
        if self.close_received:
            return Closed(int(event.code), event.reason or "", error=False)
        # The codec's own words name a position that depends on how the bytes were cut.
        reason = NOT_TEXT if event.code == BAD_DATA else event.reason or ""
        return Closed(int(event.code), reason, error=True)

    def message(self, data: Buffer | str, *, last: bool = True) -> bytes:
        """A data frame: text for str, binary for anything with bytes. `last=False` leaves the message open for more."""
        if self._ws.state is not ConnectionState.OPEN:
            raise MisuseError("a message cannot follow a Close; connect again to send it")
        try:
            if isinstance(data, str):
                return self._ws.send(TextMessage(data=data, message_finished=last))
            # wsproto copies, so the caller may reuse `data`; what holds no single bytes it would count wrongly.
            whole = data if isinstance(data, bytes | bytearray) else memoryview(data).tobytes()
            return self._ws.send(BytesMessage(data=whole, message_finished=last))
        except UnicodeEncodeError:
            raise MisuseError(f"text {shown(data)} holds half a surrogate pair; give what UTF-8 can hold") from None
        except TypeError as error:
            raise MisuseError(f"a {type(data).__name__} cannot be sent here: {error}; give bytes or str") from None

    def ping(self, payload: bytes = b"") -> bytes:
        """A ping frame; nothing once a Close went either way. At most 125 bytes of payload."""
        return self._control(WsPing, payload)

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping; nothing once a Close went either way (RFC 6455 section 5.5.2)."""
        return self._control(WsPong, payload)

    def _control(self, kind: type[WsPing | WsPong], payload: bytes) -> bytes:
        if len(payload) > 125:
            raise MisuseError(f"a control frame of {len(payload)} bytes is over 125; send less (RFC 6455 section 5.5)")
        if self._ws.state is not ConnectionState.OPEN:
            return b""
        return self._ws.send(kind(payload=payload))

    def close(self, code: int = NORMAL, reason: str = "") -> bytes:
        """Our Close, or the answer to the peer's; nothing when it is out already. 1005 sends one without a code.

        A reason is cut to the 123 bytes that fit.
        """
        if self.close_sent:
            return b""
        if code == NO_STATUS:
            return self._ws.send(CloseConnection(code=CloseReason.NO_STATUS_RCVD))
        if not may_be_sent(code):
            raise MisuseError(f"close code {shown(code)} cannot be sent; give one of RFC 6455's, or 3000 to 4999")
        sendable = reason.encode("utf-8", "replace").decode()
        return self._ws.send(CloseConnection(code=code, reason=sendable))

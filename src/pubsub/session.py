"""What the shell knows of each connection, and what it makes of the bytes and the news the engine brings.

    LENT       bytes -> wsproto -> a Close back; without the lane messages into the topic's log and pongs too, and then
               resume()
    CONDEMNED  the engine wants it closed: the Close is made here, by the connection's wsproto object
    DEPARTED   it is gone: the last that is heard of it
    ROOM       publishers may go on

A pong, and the answer to a Close, are handed to the engine only after everything before them is in the log: that is
what `Publisher.flush()` relies on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastfan import Cause, Engine, EventKind, Overloaded
from pubsub import closing
from pubsub.connection import NOT_TEXT, Closed, Connection, Piece, Ping, Pong, too_many_fragments
from pubsub.handshake import Role
from pubsub.overflow import GAPS
from pubsub.rates import FRAME_HEADER_BYTES, Pauses, Rate

if TYPE_CHECKING:
    from fastfan import Partial, Topic
    from pubsub.census import Census
    from pubsub.gate import Gate
    from pubsub.options import Options

__all__ = [
    "LIMITS",
    "VERDICTS",
    "Session",
    "Sessions",
    "message_size",
    "new_uid",
    "sent_too_much",
    "too_big",
]

# Why the engine condemns a connection, and what its client is told.
VERDICTS = {
    Cause.STALLED: (closing.TRY_LATER, "stalled: the socket took no byte for subscriber_write_timeout; read faster"),
    Cause.TOO_FAR_BEHIND: (closing.TRY_LATER, "too far behind: over max_lag_bytes, max_lag_messages or max_lag_age"),
    Cause.MEMORY: (closing.TRY_LATER, "too full: the farthest behind when max_memory_bytes was reached"),
    Cause.NO_PONG: (closing.INTERNAL, "no pong within pong_deadline"),
}


# The options behind these; a bound for lag goes under the name of the first of the three.
LIMITS = {
    Cause.STALLED: "subscriber_write_timeout",
    Cause.TOO_FAR_BEHIND: "max_lag_bytes",
    Cause.MEMORY: "max_memory_bytes",
    Cause.NO_PONG: "pong_deadline",
}

_NO_ROOM = "too full: a message found no room in max_memory_bytes"


def new_uid() -> bytes:
    """The 16 bytes of a random UUID (RFC 9562 section 5.4), without uuid's object for it."""
    uid = bytearray(os.urandom(16))
    uid[6] = uid[6] & 0x0F | 0x40
    uid[8] = uid[8] & 0x3F | 0x80
    return bytes(uid)


class Session:
    """One connection: id, name, role, topic; and its wsproto object once it has sent something."""

    __slots__ = (
        "address",
        "connection",
        "controls",
        "ended_by",
        "ignored",
        "ignored_bytes",
        "name",
        "partial",
        "role",
        "token",
        "topic",
        "uid",
        "waited",
    )

    def __init__(self, token: int, topic: Topic, role: Role, name: str, uid: bytes, address: str | None = None) -> None:
        self.token = token
        self.address = address  # what the gate goes by
        self.topic = topic
        self.role = role
        self.name = name
        self.uid = uid
        self.connection: Connection | None = None
        self.partial: Partial | None = None
        self.waited = 0.0  # seconds since the first byte of `partial`
        self.ignored_bytes = 0  # of a message a subscriber is sending
        self.controls: Rate | None = None  # pings and pongs
        self.ignored: Rate | None = None  # bytes of a subscriber
        self.ended_by: str | None = None  # what it did, once nothing more is wanted from it

    @property
    def client_id(self) -> str:
        """`NAME-UUID4`, as the Go program has it: without a name it begins with the hyphen."""
        digits = self.uid.hex()
        return f"{self.name}-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def headers(self, offset: int) -> list[tuple[bytes, bytes]]:
        """What the 101 tells it; `offset` is that of the first message it gets."""
        headers = [(b"pubsub-client-id", self.client_id.encode("ascii")), (b"pubsub-epoch", b"%d" % self.topic.epoch)]
        if self.topic.policy not in GAPS:
            # Where messages may be skipped nobody can count.
            headers.append((b"pubsub-offset", b"%d" % offset))
        return headers


class Sessions:
    """Every session of a server, by token, and what happens to them."""

    def __init__(
        self,
        engine: Engine,
        options: Options,
        census: Census,
        gate: Gate,
        *,
        pauses: Pauses,
        on_room: Callable[[], None],
    ) -> None:
        """`gate` is the one that they came in by, `pauses` those of the loop that handles them."""
        self._engine = engine
        self._gate = gate
        self._pauses = pauses
        self._options = options
        self._census = census
        self._by_token: dict[int, Session] = {}
        self._arriving: dict[int, Session] = {}
        self._on_room = on_room
        self._verdicts = _lane_verdicts(options)
        self._counts: Counter[Role] = Counter()
        self._on: dict[int, Callable[[Session, int, bytes], None]] = {
            EventKind.LENT: self._on_lent,
            EventKind.CONDEMNED: self._on_condemned,
            EventKind.DEPARTED: self._on_departed,
        }

    def __len__(self) -> int:
        return len(self._by_token)

    def count(self, role: Role) -> int:
        """Connections that have any part of `role`."""
        return self._counts[role]

    def _count(self, session: Session, step: int) -> None:
        for role in (Role.PUBLISHER, Role.SUBSCRIBER):
            if role in session.role:
                self._counts[role] += step
        self._counts[Role.DUPLEX] += step

    def all(self) -> list[Session]:
        return list(self._by_token.values())

    def add(self, session: Session) -> None:
        self._by_token[session.token] = session
        self._count(session, 1)
        self._census.joined(session)

    def handle(self, kind: int, token: int, detail: int, data: bytes) -> None:
        """One event of the engine's."""
        session = self._by_token.get(token)
        if session is not None:
            self._on[kind](session, detail, data)
        elif kind == EventKind.ROOM:
            self._on_room()

    # --- bytes ---

    def _protocol(self, session: Session) -> Connection:
        # Made when it is first needed: an idle subscriber has none.
        if session.connection is None:
            session.connection = Connection(client=False, max_fragments=self._options.max_fragments or 0)
        return session.connection

    def _on_lent(self, session: Session, _detail: int, data: bytes) -> None:
        if session.ended_by is not None:
            # Read before the end was decided: perhaps the rest of a message whose beginning was thrown away.
            return
        connection = self._protocol(session)
        publishes = Role.PUBLISHER in session.role
        whole: list[bytes | str] = []
        closed: Closed | None = None
        for happening in connection.receive(data):
            kind = type(happening)
            if kind is Piece:
                closed = self._on_piece(session, happening, whole) if publishes else self._ignore(session, happening)  # type: ignore[arg-type]
            elif (kind is Ping or kind is Pong) and self._is_over_controls(session):
                closed = self._verdicts[Cause.TOO_MANY_CONTROLS]
            elif kind is Ping:
                # Behind all that came before it, and ahead of all that came after.
                if whole:
                    self._publish(session, whole)
                    whole.clear()
                self._engine.send(session.token, connection.pong(happening.payload))  # type: ignore[union-attr]
            elif kind is Closed:
                closed = happening  # type: ignore[assignment]
            if closed is not None:
                break
        if whole:
            self._publish(session, whole)
        if closed is not None:
            self._close(session, closed)
        else:
            self._engine.resume(session.token)

    def _on_piece(self, session: Session, piece: Piece, whole: list[bytes | str]) -> Closed | None:
        limit = self._options.max_message_bytes
        if piece.last and session.partial is None:
            if len(piece.data) * 4 > limit and message_size(piece.data) > limit:
                return too_big(message_size(piece.data), limit)
            whole.append(piece.data)
            return None
        if session.partial is None:
            session.partial, session.waited = session.topic.partial(text=isinstance(piece.data, str)), 0.0
            self._arriving[session.token] = session
        size = len(session.partial) + message_size(piece.data)
        if size > limit:
            return too_big(size, limit)
        return self._extend(session, piece, whole)

    def _extend(self, session: Session, piece: Piece, whole: list[bytes | str]) -> Closed | None:
        assert session.partial is not None
        self._thin_out(session)
        try:
            session.partial.extend(piece.data)
            if piece.last:
                self._publish(session, whole)
                whole.clear()
                size = len(session.partial)
                session.partial.publish()
                self._census.published(1, size)
                self._drop_partial(session)
        except Overloaded as error:
            return Closed(closing.TRY_LATER, f"too full: {error}", error=True, limit="max_memory_bytes")
        return None

    def _thin_out(self, session: Session) -> None:
        """As in the engine's lane: messages that are arriving have half of the memory, and beyond it the largest goes.
        Nothing is looked at before memory is short; and each lies in a block up to twice as large as what has come."""
        while not self._engine.roomy and len(self._arriving) > 1:
            sizes = {each: len(each.partial or b"") for each in self._arriving.values()}
            largest = max(sizes, key=sizes.__getitem__)
            if largest is session or 4 * sum(sizes.values()) <= self._engine.stats()["max_memory_bytes"]:
                return
            self._close(largest, self._verdicts[Cause.NO_ROOM])

    def _publish(self, session: Session, messages: list[bytes | str]) -> None:
        # Not strict: the bytes are in memory already, charged as lent; publishers are held back long before the limit.
        session.topic.publish_many(messages, strict=False)
        self._census.published(len(messages), sum(map(message_size, messages)))

    def _ignore(self, session: Session, piece: Piece) -> Closed | None:
        """What a subscriber sends is counted, limited, and thrown away."""
        session.ignored_bytes += message_size(piece.data)
        size, limit = session.ignored_bytes, self._options.max_message_bytes
        if size > limit:
            return too_big(size, limit)
        if piece.last:
            session.ignored_bytes = 0
            self._census.ignored()
        session.ignored = session.ignored or Rate()
        sent = message_size(piece.data) + (FRAME_HEADER_BYTES if piece.frame_last else 0)
        is_over = self._is_over(session.ignored, sent, self._options.max_ignored_bytes)
        return self._verdicts[Cause.SENT_TOO_MUCH] if is_over else None

    def _is_over_controls(self, session: Session) -> bool:
        session.controls = session.controls or Rate()
        return self._is_over(session.controls, 1, self._options.max_control_frames)

    def _is_over(self, rate: Rate, amount: int, most: int | None) -> bool:
        if most is None:
            return False
        return rate.add(amount, self._pauses.clock()) > most and not self._pauses.just_resumed()

    def _drop_partial(self, session: Session) -> None:
        session.partial = None
        self._arriving.pop(session.token, None)

    # --- ends ---

    def _close(self, session: Session, closed: Closed) -> None:
        """Answers the peer's Close, or ends a connection that broke a rule: nothing more is wanted from it."""
        self._drop_partial(session)
        session.ended_by = closing.closing(closed.code).label if closed.error else Cause.CLOSED.name.lower()
        if closed.limit:
            self._census.met(closed.limit)
        frame = self._protocol(session).close(closed.code, closed.reason if closed.error else "")
        self._engine.end(session.token, frame, discard=True)

    def close(
        self, session: Session, code: int, reason: str, *, after_log: bool = False, deadline: float | None = None
    ) -> None:
        """Our Close; what a publisher still sends is taken until its own arrives, or `deadline` seconds have passed."""
        frame = self._protocol(session).close(code, reason)
        if frame:
            self._engine.end(session.token, frame, after_log=after_log, deadline=deadline)

    def _on_condemned(self, session: Session, detail: int, _data: bytes) -> None:
        verdict = self._verdicts.get(Cause(detail))
        if verdict is None:
            self._census.met(LIMITS[Cause(detail)])
            self.close(session, *VERDICTS[Cause(detail)])
        else:
            self._close(session, verdict)

    def _on_departed(self, session: Session, detail: int, _data: bytes) -> None:
        del self._by_token[session.token]
        self._drop_partial(session)
        self._gate.leave(session.address)
        if detail == Cause.CLOSE_TIMEOUT and session.ended_by is not None:
            # Else it was sent away, in the time of a server that ends.
            self._census.met("close_deadline")
        cause = Cause(detail).name.lower()
        # The engine sees a Close and an end of stream; what the Close was about is known here.
        self._count(session, -1)
        self._census.left(session, session.ended_by or cause if cause == "closed" else cause)

    def forget_all(self) -> None:
        """Who is still there has been reset, and nobody will take the engine's word for it."""
        for session in self.all():
            self._on_departed(session, Cause.ABORTED, b"")

    def age(self, step: float) -> None:
        """Advances the clocks of messages on their way by `step` seconds, but not of those that are held back."""
        self._pauses.beat()
        limit = self._options.message_timeout
        for session in list(self._arriving.values()):
            # Not while its topic is paced; but while memory is short it counts, for unfinished messages may be what
            # fills it.
            if session.topic.paced and self._engine.roomy:
                continue
            session.waited += step
            if session.waited > limit:
                self._close(session, self._verdicts[Cause.MESSAGE_TIMEOUT])


def message_size(data: bytes | str) -> int:
    """Bytes of its payload."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _lane_verdicts(options: Options) -> dict[Cause, Closed]:
    """What a client is told that broke a rule in the engine's lane: the same as without it."""
    limit = options.max_message_bytes
    controls = f"over max_control_frames={options.max_control_frames} pings and pongs in a second"
    slow = f"message not complete within message_timeout={options.message_timeout:g} s"
    return {
        Cause.BAD_TEXT: Closed(closing.BAD_DATA, NOT_TEXT, error=True),
        Cause.TOO_BIG: too_big(limit + 1, limit),
        Cause.MESSAGE_TIMEOUT: Closed(closing.POLICY, slow, error=True, limit="message_timeout"),
        Cause.NO_ROOM: Closed(closing.TRY_LATER, _NO_ROOM, error=True, limit="max_memory_bytes"),
        Cause.TOO_MANY_FRAGMENTS: too_many_fragments(options.max_fragments or 0),
        Cause.TOO_MANY_CONTROLS: Closed(closing.POLICY, controls, error=True, limit="max_control_frames"),
        Cause.SENT_TOO_MUCH: sent_too_much(options),
    }


def sent_too_much(options: Options) -> Closed:
    fault = f"a subscriber sent over max_ignored_bytes={options.max_ignored_bytes} in a second; be duplex to publish"
    return Closed(closing.POLICY, fault, error=True, limit="max_ignored_bytes")


def too_big(size: int, limit: int) -> Closed:
    fault = f"message of {size} bytes or more is over max_message_bytes={limit}"
    return Closed(closing.TOO_BIG, fault, error=True, limit="max_message_bytes")

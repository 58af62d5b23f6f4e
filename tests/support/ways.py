"""The two ways of a client's bytes, through the lane and through wsproto: many clients at once, in this thread.

A Way is what server.py does with an engine and its events, without asyncio. It plays scripts: each in a connection of
its own, with every piece dealt with to the end before the next is sent, so that both ways see the same cuts.
"""

import codecs
import re
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from unittest import mock

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Engine, Topic
from pubsub.census import Census
from pubsub.closing import RESTART
from pubsub.eventstream import EventStreams
from pubsub.gate import Gate
from pubsub.handshake import Role
from pubsub.options import Options
from pubsub.rates import Pauses
from pubsub.session import Session, Sessions, new_uid
from tests.support.clientstreams import LIMIT, Script
from tests.support.frames import CLOSE, PONG, parse

__all__ = ["Answers", "Outcome", "Way", "to_answers"]

ROLES = {PUBLISHER: Role.PUBLISHER, SUBSCRIBER: Role.SUBSCRIBER, DUPLEX: Role.DUPLEX}
# Rounds that a connection may take after its last piece; it needs two or three.
ROUNDS = 100
HOUR = 3600.0  # no deadline: a busy machine takes seconds over a stream of many pieces
LINE = b"published by the program"


UTF_8 = codecs.getincrementaldecoder("utf-8")


class PromptDecoder(UTF_8):  # type: ignore[misc, valid-type]
    """The one thing that can be told: CPython says no to a surrogate at its third byte, the lane at its second."""

    def decode(self, data: bytes, final: bool = False) -> str:
        text: str = super().decode(data, final)
        cut: bytes = self.getstate()[0]
        if len(cut) == 2 and b"\xed\xa0" <= cut <= b"\xed\xbf":
            raise UnicodeDecodeError("utf-8", cut, 0, 2, "surrogate")
        return text


class Answers(NamedTuple):
    """What a client got, but for what depends on how the kernel cuts the stream, with the lane or without."""

    closes: list[bytes]  # without how much of a message had come when it was found to be too large
    pongs: list[bytes]  # those to pings that came in one piece with a Close are left out (RFC 6455 section 5.5.2)
    messages: list[tuple[int, bytes]]  # a duplex client's own; our Close may come before them

    def agrees(self, other: "Answers") -> bool:
        return (
            self.closes == other.closes
            and one_goes_on(self.pongs, other.pongs, ended=bool(self.closes))
            and one_goes_on(self.messages, other.messages, ended=bool(self.closes))
        )


def one_goes_on(one: list[Any], other: list[Any], *, ended: bool) -> bool:
    """Whether they are the same; or, where a Close ended them, as far as the shorter one goes."""
    shorter, longer = sorted((one, other), key=len)
    return longer[: len(shorter)] == shorter and (ended or len(shorter) == len(longer))


def to_answers(stream: bytes | bytearray) -> Answers:
    frames, rest = parse(stream)
    assert rest == b""
    closes = [re.sub(rb"message of \d+", b"message of", payload) for opcode, payload in frames if opcode == CLOSE]
    pongs = [payload for opcode, payload in frames if opcode == PONG]
    return Answers(closes, pongs, [it for it in frames if it[0] not in (CLOSE, PONG)])


class Outcome(NamedTuple):
    """What came of a script."""

    log: bytes  # what a subscriber got
    answers: bytes  # what the client got
    cause: str  # of its departure

    def agrees(self, other: "Outcome") -> bool:
        if self.log != other.log or self.cause != other.cause:
            return False
        # Nearly always the same to the last byte, and not worth a look inside.
        return self.answers == other.answers or to_answers(self.answers).agrees(to_answers(other.answers))


class Counts(NamedTuple):
    """What a Way has counted so far, and what it holds now."""

    messages: int
    message_bytes: int
    ignored_messages: int
    departures: dict[str, int]
    memory_bytes: int
    sessions: int


class Causes(Census):
    """A census that remembers why each connection departed."""

    def __init__(self) -> None:
        super().__init__(EventStreams(1))
        self.by_token: dict[int, str] = {}

    def left(self, session: Session, cause: str) -> None:
        super().left(session, cause)
        self.by_token[session.token] = cause


class Peer:
    """The client's end of a connection."""

    def __init__(self, sock: socket.socket, session: Session) -> None:
        self.sock = sock
        self.session = session
        self.got = bytearray()


class Seat:
    """A topic, with a subscriber or without, on which one script is played after the other."""

    def __init__(self, way: "Way", name: str, *, listened: bool) -> None:
        self._way = way
        self._topic = way.engine.topic(name)
        self._subscriber = way.join(self._topic, SUBSCRIBER) if listened else None
        self._scripts: list[tuple[int, Script]] = []
        self._client: Peer | None = None
        self._happening: list[Callable[[], object]] = []
        self._at = self._rest = self._waited = 0

    def give(self, index: int, script: Script) -> None:
        self._scripts.append((index, script))

    def step(self, outcomes: list[Outcome | None]) -> bool:
        """One step of the present script, or the beginning of the next; False when there is none left."""
        if self._client is None:
            return self._begin()
        _, script = self._scripts[-1]
        if self._happening:
            self._happening.pop()()
        elif self._at < len(script.pieces):
            self._send(script.pieces[self._at])
        elif self._at == len(script.pieces):
            self._leave(script)
        else:
            self._end(outcomes)
        return True

    def _begin(self) -> bool:
        if not self._scripts:
            return False
        _, script = self._scripts[-1]
        self._client = self._way.join(self._topic, script.role, reads=script.leaves != "reset")
        self._rest = self._waited = 0
        self._go_to(0)
        return True

    def _go_to(self, place: int) -> None:
        """What happens before the piece there happens in steps of its own: of two things that happen at once, the
        engine's clock decides which comes first."""
        assert self._client is not None
        _, script = self._scripts[-1]
        self._at = place
        if script.close_at == place:
            session = self._client.session
            self._happening.append(lambda: self._way.close(session, after_log=script.after_log))
        if script.publish_at == place:
            self._happening.append(lambda: self._topic.publish(LINE))

    def _send(self, piece: bytes) -> None:
        assert self._client is not None
        try:
            self._rest += self._client.sock.send(piece[self._rest :] if self._rest else piece)
        except BlockingIOError:
            self._wait()
            return
        except (BrokenPipeError, ConnectionResetError):
            self._rest = 0
            self._go_to(len(self._scripts[-1][1].pieces))  # the engine had enough
            return
        if self._rest == len(piece):
            self._rest = 0
            self._go_to(self._at + 1)

    def _leave(self, script: Script) -> None:
        assert self._client is not None
        self._at += 1
        if script.leaves == "finish":
            self._client.sock.shutdown(socket.SHUT_WR)
        else:
            self._way.hang_up(self._client)

    def _end(self, outcomes: list[Outcome | None]) -> None:
        assert self._client is not None
        cause = self._way.census.by_token.pop(self._client.session.token, None)
        if cause is None:
            self._wait()
            return
        self._way.hang_up(self._client)
        index, _ = self._scripts.pop()
        log = b""
        if self._subscriber is not None:
            log = bytes(self._subscriber.got)
            self._subscriber.got.clear()
        outcomes[index] = Outcome(log, bytes(self._client.got), cause)
        self._client = None

    def _wait(self) -> None:
        self._waited += 1
        assert self._waited < ROUNDS, "a connection is read no more, or does not go"

    def leave(self) -> None:
        for peer in (self._client, self._subscriber):
            if peer is not None:
                self._way.hang_up(peer)


class Way:
    """One of the two."""

    def __init__(self, *, lane: bool, seats: int = 1) -> None:
        options = Options(max_message_bytes=LIMIT, lane=lane)
        self.engine = Engine(
            io_threads=0,
            max_memory_bytes=1 << 30,
            lane_bytes=LIMIT if lane else 0,
            write_timeout=HOUR,
            close_deadline=HOUR,
            message_timeout=HOUR,
        )
        self.census = Causes()
        self._sessions = Sessions(
            self.engine, options, self.census, Gate(options), pauses=Pauses(), on_room=lambda: None
        )
        self._poll = select.epoll()
        self._work = self.engine.work_fileno()
        self._poll.register(self._work, select.EPOLLIN)
        self._peers: dict[int, Peer] = {}
        # One in five without a subscriber: its log keeps nothing.
        self._seats = [Seat(self, f"/{place}", listened=place % 5 != 4) for place in range(seats)]

    def play(self, scripts: Sequence[Script], *, seat: int = 0) -> list[Outcome]:
        """The same script has the same seat, whichever way, and comes after the same others there."""
        outcomes: list[Outcome | None] = [None] * len(scripts)
        for index, script in enumerate(scripts):
            self._seats[(seat + index) % len(self._seats)].give(index, script)
        left = self._seats
        with mock.patch("wsproto.frame_protocol.getincrementaldecoder", return_value=PromptDecoder):
            while left := [seat for seat in left if seat.step(outcomes)]:
                self._settle()
        return [outcome for outcome in outcomes if outcome is not None]

    def _settle(self) -> None:
        for _ in range(10_000):
            self.engine.turn()
            events = self.engine.take_events()
            for kind, token, detail, _, data in events:
                self._sessions.handle(kind, token, detail, data)
            ready = self._poll.poll(0)
            for fileno, _ in ready:
                if fileno != self._work:
                    self._read(fileno)
            if not events and not ready:
                return
        raise AssertionError("the engine never comes to rest")

    def _read(self, fileno: int) -> None:
        peer = self._peers[fileno]
        try:
            data = peer.sock.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if data:
            peer.got += data
        else:
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        if self._peers.pop(peer.sock.fileno(), None) is not None:
            self._poll.unregister(peer.sock.fileno())

    def join(self, topic: Topic, role: int, *, reads: bool = True) -> Peer:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        token = self.engine.attach(topic, role=role).token
        peer = Peer(theirs, Session(token, topic, ROLES[role], "", new_uid()))
        self._sessions.add(peer.session)
        self.engine.start(token, ours.detach())
        if reads:
            self._peers[theirs.fileno()] = peer
            self._poll.register(theirs.fileno(), select.EPOLLIN)
        return peer

    def close(self, session: Session, *, after_log: bool) -> None:
        """As the server does it, unless the client is gone already."""
        if session.token not in self.census.by_token:
            self._sessions.close(session, RESTART, "the server is restarting", after_log=after_log)

    def hang_up(self, peer: Peer) -> None:
        if peer.sock.fileno() >= 0:
            self._forget(peer)
            peer.sock.close()

    def counts(self) -> Counts:
        engine, census = self.engine.stats(), self.census
        return Counts(
            census.messages + engine["messages"],
            census.message_bytes + engine["message_bytes"],
            census.ignored_messages + engine["ignored_messages"],
            dict(census.departures),
            engine["memory_bytes"],
            len(self._sessions),
        )

    def end(self) -> None:
        """Everybody leaves, and nothing may be left of anybody."""
        try:
            for seat in self._seats:
                seat.leave()
            self._settle()
            stats = self.engine.stats()
            left = len(self._sessions), stats["connections"], stats["memory_bytes"]
            assert left == (0, 0, 0), f"left are {left} sessions, connections, bytes"
        finally:
            self.engine.close()
            self._poll.close()

"""What Publisher and Subscriber share: opening, one reading and one writing task, closing.

    NEW ── open ──► OPENING ── 101 ──► OPEN ── a Close, ours or theirs, or the end of the stream ──► CLOSING ──► CLOSED
     │                 │                └────────────── the loop ends ─────────────────────────────────────────►│
     └── close ────────┴── refused, unreachable, too late ─────────────────────────────────────────────────────►│

`_live` is the one task that reads and, at the end, takes everything down; the outbox is the only writer. Whoever waits
(for room, for a pong, for a message) is woken at the end, and looks at the state again.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import os
from collections.abc import Iterable, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import ClassVar, NoReturn, Self, TypedDict, cast

from pubsub.addresses import client_address
from pubsub.closing import ABNORMAL, NO_STATUS, NORMAL
from pubsub.connection import ClientUpgrade, Closed, Connection, Piece, Ping, Pong
from pubsub.dialing import Connect, Streams, connect_streams, open_in_time, unacknowledged_bytes
from pubsub.errors import ClosedBy, ConfigError, ConnectionClosed, MisuseError, NoPong, PeerError, PubSubError
from pubsub.handshake import fault_of_name
from pubsub.options import check_duration
from pubsub.outbox import Outbox

__all__ = ["Arguments", "Client", "Probe", "State"]

_READ_BYTES = 65536


class State(enum.Enum):
    """Where a client is in its life."""

    NEW = "new"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


_MOVES = {
    State.NEW: {State.OPENING, State.CLOSED},
    State.OPENING: {State.OPEN, State.CLOSED},
    State.OPEN: {State.CLOSING, State.CLOSED},
    State.CLOSING: {State.CLOSED},
    State.CLOSED: set[State](),
}


class Arguments(TypedDict, total=False):
    """The keyword arguments of Client, for signatures that pass them on."""

    name: str
    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    ssl: SSLContext | None
    connect: Connect | None
    open_timeout: float
    close_deadline: float
    pong_deadline: float


class Client:
    """A connection to one topic, for the tasks of one event loop. It opens once; use it as `async with`."""

    _role: ClassVar[str]

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str = "",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        ssl: SSLContext | None = None,
        connect: Connect | None = None,
        open_timeout: float = 10.0,
        close_deadline: float = 5.0,
        pong_deadline: float = 10.0,
    ) -> None:
        self._address = client_address(url, pubsub_addr=os.environ.get("PUBSUB_ADDR"))
        if ssl is not None and not self._address.secure:
            raise MisuseError(f"ssl is given, but {self.url} has no TLS; use wss://")
        self._upgrade = ClientUpgrade(
            host=self._address.host_header, target=self._address.target, headers=self._headers(name, headers)
        )
        self._ssl = ssl
        self._connect = connect or connect_streams
        self._open_timeout = _duration("open_timeout", open_timeout)
        self._close_deadline = _duration("close_deadline", close_deadline)
        self._pong_deadline = _duration("pong_deadline", pong_deadline)
        self._state = State.NEW
        self._error: PubSubError | None = None
        self._client_id = ""
        self._connection = Connection(client=True)
        self._outbox = Outbox()
        self._ping_numbers = itertools.count(1)
        self._pongs: dict[bytes, asyncio.Future[None]] = {}
        self._close_code = NORMAL
        self._close_timer: asyncio.TimerHandle | None = None
        # Both from OPEN on.
        self._writer: asyncio.StreamWriter
        self._life: asyncio.Task[None] | None = None

    def _headers(self, name: str, extra: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        fault = fault_of_name(name)
        if fault is not None:
            raise MisuseError(fault)
        given = list(extra.items() if isinstance(extra, Mapping) else extra)
        if any(header.lower() == "pubsub" for header, _ in given):
            raise MisuseError(f"header pubsub is what makes this a {self._role}; leave it out")
        own = [("pubsub", self._role)] + ([("pubsub-client-name", name)] if name else [])
        return own + given

    @property
    def url(self) -> str:
        """Where it connects."""
        return self._address.url

    @property
    def client_id(self) -> str:
        """The id the server gave, as its events show it; empty before that, and with servers that give none."""
        return self._client_id

    @property
    def error(self) -> PubSubError | None:
        """Why the connection ended; None while it has not, and when `close` ended it and the server agreed."""
        return self._error

    # --- opening ---

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> Self:
        """Connects and upgrades, once. Raises ConnectFailed, UpgradeRefused, or PeerError for any other answer."""
        self._move_to(State.OPENING)
        try:
            streams, accepted = await open_in_time(
                self._address, self._upgrade, self._connect, self._ssl, self._open_timeout
            )
        except BaseException as error:
            self._error = error if isinstance(error, PubSubError) else None
            self._move_to(State.CLOSED)
            raise
        self._client_id = dict(accepted.headers).get("pubsub-client-id", "")
        self._writer = streams[1]
        self._move_to(State.OPEN)
        self._life = asyncio.create_task(self._live(streams), name=f"{self._role} on {self.url}")
        return self

    # --- living ---

    async def _live(self, streams: Streams) -> None:
        reader, writer = streams
        writing = asyncio.create_task(self._outbox.write_to(writer), name=f"{self._role} writing to {self.url}")
        try:
            try:
                await self._read(reader)
            except OSError as error:
                self._lose(error)
            self._start_closing()
            self._outbox.end()
            await writing
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()
        finally:
            self._end()
            writing.cancel()
            await asyncio.wait([writing])

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Until nothing more can come: the peer's Close, nonsense, or the end of the stream."""
        data = self._upgrade.leftover
        while not self._take(data):
            await self._wait_wanted()
            data = await reader.read(_READ_BYTES)
            if not data:
                self._lose(None)
                return

    def _take(self, data: bytes) -> bool:
        """Handles what `data` brought; True when nothing more can come."""
        for happening in self._connection.receive(data):
            kind = type(happening)
            if kind is Piece:
                if self._state is State.OPEN:
                    self._on_piece(cast(Piece, happening))
            elif kind is Ping:
                self._outbox.put_pong(self._connection.pong(cast(Ping, happening).payload))
            elif kind is Pong:
                self._on_pong(cast(Pong, happening).payload)
            else:
                self._on_closed(cast(Closed, happening))
                return True
        return False

    def _on_piece(self, piece: Piece) -> None:
        """A part of a message came. A subclass that has a use for messages says which."""

    async def _wait_wanted(self) -> None:
        """Returns when more may be read. A subclass that keeps messages says how many."""

    def _on_pong(self, payload: bytes) -> None:
        # A pong stands for the pings before its own too, which may have gone unanswered (RFC 6455 section 5.5.3).
        while payload in self._pongs:
            pong = self._pongs.pop(next(iter(self._pongs)))
            if not pong.done():
                pong.set_result(None)

    def _on_closed(self, closed: Closed) -> None:
        if closed.error:
            self._fail(PeerError(f"the server broke the protocol: {closed.reason}", code=closed.code))
        elif self._state is State.OPEN or closed.code not in (NORMAL, NO_STATUS, self._close_code):
            # A Close that crossed ours and says why is news; one that repeats ours is the answer to it.
            self._fail(ConnectionClosed(closed.code, closed.reason, by=ClosedBy.PEER))
        self._outbox.put(self._connection.close(closed.code, closed.reason if closed.error else ""))

    def _lose(self, cause: OSError | None) -> None:
        lost = ConnectionClosed(ABNORMAL, str(cause or ""), by=ClosedBy.NETWORK)
        lost.__cause__ = cause
        self._fail(lost)

    def _fail(self, error: PubSubError) -> None:
        # The first error is the cause; what follows follows from it.
        self._error = self._error or error

    # --- sending ---

    async def _wait_room(self) -> None:
        """Returns when something may be sent; raises when nothing may be sent any more."""
        if self._state is State.OPEN:
            await self._outbox.wait_room()
        if self._state is not State.OPEN:
            self._refuse()

    def _refuse(self) -> NoReturn:
        if self._state in (State.NEW, State.OPENING):
            raise MisuseError(f"this {self._role} is not open; use it as `async with`, or await open() first")
        raise self._error or ConnectionClosed(NORMAL, by=ClosedBy.US)

    async def _wait_pong(self) -> None:
        """Returns when the server has answered a ping that went out after everything before it."""
        await self._wait_room()
        payload = b"flush %d" % next(self._ping_numbers)
        pong = self._pongs[payload] = asyncio.get_running_loop().create_future()
        self._outbox.put(self._connection.ping(payload))
        try:
            while not pong.done():
                before = self._taken_bytes()
                await asyncio.wait([pong], timeout=self._pong_deadline)
                # While the server takes bytes it is alive, and busy with what came before the ping, or pacing.
                if not pong.done() and self._taken_bytes() == before:
                    raise NoPong(
                        f"no pong, and no byte taken, for pong_deadline={self._pong_deadline:g} s; "
                        f"flush again to go on waiting, or raise it"
                    )
            pong.result()
        finally:
            self._pongs.pop(payload, None)

    def _taken_bytes(self) -> int:
        """How much of what was sent has arrived at the server's machine."""
        return self._outbox.written_bytes - unacknowledged_bytes(self._writer)

    # --- closing ---

    async def close(self) -> None:
        """Sends what was published, then a Close, and waits for the server's. What goes wrong meanwhile is in `error`.

        When the server takes no byte for `close_deadline`, or this call is cancelled, the connection is cut.
        """
        if self._state is State.OPENING:
            raise MisuseError(f"this {self._role} is being opened by another task; cancel that task instead")
        if self._state is State.NEW:
            self._move_to(State.CLOSED)
        self._start_closing()
        try:
            await self._wait_end()
        except asyncio.CancelledError:
            self._writer.transport.abort()
            raise

    async def wait_closed(self) -> None:
        """Returns when the connection has ended, whoever ended it; `error` says why."""
        if self._state in (State.NEW, State.OPENING):
            self._refuse()
        await self._wait_end()

    async def _wait_end(self) -> None:
        if self._life is not None:
            # Waiting must not cancel what it waits for.
            await asyncio.wait([self._life])

    def _start_closing(self, code: int = NORMAL, reason: str = "") -> None:
        if self._state is State.OPEN:
            self._close_code = code
            self._outbox.put(self._connection.close(code, reason))
            self._move_to(State.CLOSING)
            self._watch_closing()

    def _watch_closing(self, taken_before: int | None = None) -> None:
        """Cuts the connection after `close_deadline` in which the server took nothing."""
        taken = self._taken_bytes()
        if taken == taken_before:
            self._writer.transport.abort()
        else:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(self._close_deadline, self._watch_closing, taken)

    def _end(self) -> None:
        self._writer.transport.abort()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if not self._connection.close_received:
            # Cut, or cancelled with the whole loop.
            self._lose(None)
        self._move_to(State.CLOSED)
        for pong in self._pongs.values():
            if not pong.done():
                pong.set_exception(self._error or ConnectionClosed(NORMAL, by=ClosedBy.US))

    def _move_to(self, state: State) -> None:
        if state not in _MOVES[self._state]:
            raise MisuseError(f"this {self._role} is {self._state.value} already; make a new one for a new connection")
        self._state = state


class Probe(Client):
    """Neither publishes nor subscribes: whether it opens says whether there is a server. No event tells of it."""

    _role: ClassVar[str] = "check"


def _duration(name: str, value: float) -> float:
    try:
        return check_duration(name, value)
    except ConfigError as error:
        raise MisuseError(str(error)) from None

"""What Publisher and Subscriber share: a life of one connection, or of several.

    NEW ── open ──► OPENING ── 101 ──► OPEN ── close, or a connection that ended for good ──► CLOSING ──► CLOSED
     │                 │               │  ▲                                                      ▲           ▲
     │                 │          lost │  │ 101                                                  │           │
     │                 │               ▼  │                                                      │           │
     │                 │               AWAY ── close ────────────────────────────────────────────┘           │
     │                 │                └───── refused for good, or the limits are reached ─────────────────►│
     └── close ────────┴── refused, unreachable, too late ──────────────────────────────────────────────────►│

From OPEN on one task, `_live`, goes from connection (link.py) to connection, with the wait and the attempts between
two (reconnect.py) in a task of their own, so that `close` can end them. Whoever waits is woken by a move, and looks at
the state again.
"""

from __future__ import annotations

import asyncio
import enum
from ssl import SSLContext
from types import TracebackType
from typing import ClassVar, Self, TypedDict

from pubsub.closing import ABNORMAL, NORMAL
from pubsub.connection import Piece
from pubsub.dialing import Connect, Dialer, Headers
from pubsub.errors import ClosedBy, ConnectionClosed, MisuseError, PubSubError, shown
from pubsub.link import Link
from pubsub.reconnect import Backoff, Reconnect, backoff_for, checked_seconds, comes_back, retry_after
from pubsub.telling import OnAway, OnGap, Teller

__all__ = ["Arguments", "Client", "ComingBack", "Probe", "State"]


class State(enum.Enum):
    """Where a client is in its life."""

    NEW = "new"
    OPENING = "opening"
    OPEN = "open"
    AWAY = "away"
    CLOSING = "closing"
    CLOSED = "closed"


_MOVES = {
    State.NEW: {State.OPENING, State.CLOSED},
    State.OPENING: {State.OPEN, State.CLOSED},
    State.OPEN: {State.AWAY, State.CLOSING, State.CLOSED},
    State.AWAY: {State.OPEN, State.CLOSING, State.CLOSED},
    State.CLOSING: {State.CLOSED},
    State.CLOSED: set[State](),
}


class ComingBack(TypedDict, total=False):
    """Those of Client's keyword arguments that are about coming back."""

    reconnect: bool | Reconnect
    on_gap: OnGap | None
    on_away: OnAway | None


class Arguments(ComingBack, total=False):
    """The keyword arguments of Client, for signatures that pass them on."""

    name: str
    headers: Headers
    ssl: SSLContext | None
    connect: Connect | None
    open_timeout: float
    close_deadline: float
    pong_deadline: float


class Client:
    """A client of one topic, for the tasks of one event loop. It opens once; use it as `async with`."""

    _role: ClassVar[str]

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str = "",
        headers: Headers = (),
        ssl: SSLContext | None = None,
        connect: Connect | None = None,
        open_timeout: float = 10.0,
        close_deadline: float = 5.0,
        pong_deadline: float = 10.0,
        reconnect: bool | Reconnect = False,
        on_gap: OnGap | None = None,
        on_away: OnAway | None = None,
    ) -> None:
        self._dialer = Dialer(
            url, role=self._role, name=name, headers=headers, ssl=ssl, connect=connect, open_timeout=open_timeout
        )
        self._close_deadline = checked_seconds("close_deadline", close_deadline)
        self._pong_deadline = checked_seconds("pong_deadline", pong_deadline)
        self._backoff = backoff_for(reconnect)
        self._who = f"{self._role} on {self.url}"
        self._teller = Teller(self._who, on_gap=on_gap, on_away=on_away, comes_back=self._backoff is not None)
        self._state = State.NEW
        self._error: PubSubError | None = None
        # Set but in AWAY.
        self._here = asyncio.Event()
        self._here.set()
        self._left_at = 0.0
        self._coming: asyncio.Task[None] | None = None
        # Both from OPEN on; the link of AWAY is the one that was lost.
        self._link: Link
        self._life: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it connects."""
        return self._dialer.url

    @property
    def client_id(self) -> str:
        """The id the server gave, as its events show it; empty before that, and with servers that give none.

        Each connection has its own: with `reconnect` it is that of the latest.
        """
        return self._link.client_id if self._life is not None else ""

    @property
    def error(self) -> PubSubError | None:
        """Why it ended; None while it has not (while it is coming back, too), and when `close` ended it and the server
        agreed."""
        return self._error

    # --- opening ---

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> Self:
        """Connects and upgrades, once. Raises ConnectFailed, UpgradeRefused, or PeerError for any other answer.

        This first attempt fails at once, with `reconnect` too: most often the URL is wrong.
        """
        self._move_to(State.OPENING)
        try:
            link = await self._dial()
        except BaseException as error:
            self._error = error if isinstance(error, PubSubError) else None
            self._move_to(State.CLOSED)
            raise
        self._begin(link)
        self._life = asyncio.create_task(self._live(), name=self._who)
        return self

    async def _dial(self) -> Link:
        return Link(
            await self._dialer.dial(),
            name=self._who,
            close_deadline=self._close_deadline,
            on_piece=self._on_piece,
            wait_wanted=self._wait_wanted,
            on_ending=self._on_ending,
        )

    def _begin(self, link: Link) -> None:
        self._link = link
        if self._backoff is not None:
            self._backoff.on_open(_now())
        self._move_to(State.OPEN)

    # --- living ---

    async def _live(self) -> None:
        link = None
        try:
            while link is not self._link:
                link = self._link
                await link.live()
                if self._state is State.AWAY:
                    await self._wait_back()
        finally:
            # The loop may end just when there is a new one.
            self._link.abort()
            self._end()

    def _on_piece(self, piece: Piece) -> None:
        """A part of a message came. A subclass that has a use for messages says which."""

    async def _wait_wanted(self) -> None:
        """Returns when more may be read. A subclass that keeps messages says how many."""

    def _on_ending(self) -> None:
        """Nothing more comes on this connection."""
        error = self._link.error
        if self._state is State.OPEN and error is not None:
            if self._backoff is not None and comes_back(error):
                self._left_at = _now()
                self._backoff.on_lost(self._left_at)
                self._move_to(State.AWAY)
                self._teller.on_away(error)
                return
            self._fail(error)
            self._move_to(State.CLOSING)

    def _fail(self, error: PubSubError) -> None:
        # The first error is the cause; what follows follows from it.
        self._error = self._error or error

    def _end(self) -> None:
        if self._link.error is not None:
            self._fail(self._link.error)
        if self._state is not State.CLOSED:
            self._move_to(State.CLOSED)

    # --- coming back ---

    async def _wait_back(self) -> None:
        """Returns when it is back, when it is over, and when `close` ended the attempts."""
        assert self._backoff is not None
        self._coming = asyncio.create_task(self._come_back(self._backoff), name=f"{self._who}, coming back")
        try:
            await asyncio.wait([self._coming])
        finally:
            self._coming.cancel()
            await asyncio.wait([self._coming])
        if not self._coming.cancelled():
            self._coming.result()

    async def _come_back(self, backoff: Backoff) -> None:
        error = self._link.error
        while error is not None and self._state is State.AWAY:
            delay = backoff.next_delay(_now(), at_least=retry_after(error)) if comes_back(error) else None
            if delay is None:
                self._fail(error)
                self._move_to(State.CLOSED)
                return
            await asyncio.sleep(delay)
            error = await self._try_again()

    async def _try_again(self) -> PubSubError | None:
        """Why it failed; None when there is a connection again. Nothing is awaited between its 101 and OPEN."""
        try:
            link = await self._dial()
        except PubSubError as error:
            return error
        except Exception as error:
            wrong = MisuseError(f"connect raised {shown(error)}; let it raise OSError where another attempt may help")
            wrong.__cause__ = error
            return wrong
        if self._state is not State.AWAY:
            # A connection factory that swallows its cancellation has connected all the same.
            link.abort()
            return None
        before = self._link
        self._begin(link)
        self._on_back(before, _now() - self._left_at)
        return None

    def _on_back(self, before: Link, seconds: float) -> None:
        """It is back: between `before` and the new link something may be missing. A subclass says what."""

    # --- sending ---

    async def _wait_room(self) -> Link:
        """The connection, when something may be sent on it; raises when nothing may be sent any more."""
        while True:
            if self._state is State.OPEN:
                link = self._link
                await link.wait_room()
                if self._state is State.OPEN and link is self._link:
                    return link
            elif self._state is State.AWAY:
                await self._here.wait()
            else:
                raise self._refusal()

    def _refusal(self) -> PubSubError:
        if self._state in (State.NEW, State.OPENING):
            return MisuseError(f"this {self._role} is not open; use it as `async with`, or await open() first")
        return self._error or ConnectionClosed(NORMAL, by=ClosedBy.US)

    # --- closing ---

    async def close(self) -> None:
        """Sends what was published, then a Close, and waits for the server's. What goes wrong meanwhile is in `error`.

        When the server takes no byte for `close_deadline`, or this call is cancelled, the connection is cut. While it
        is away it stops coming back: there is nobody to send anything to.
        """
        if self._state is State.OPENING:
            raise MisuseError(f"this {self._role} is being opened by another task; cancel that task instead")
        if self._state is State.NEW:
            self._move_to(State.CLOSED)
        if self._state is State.AWAY:
            self._stay_away()
        self._start_closing()
        try:
            await self._wait_end()
        except asyncio.CancelledError:
            self._link.abort()
            raise

    async def wait_closed(self) -> None:
        """Returns when it has ended for good, whoever ended it; `error` says why."""
        if self._state in (State.NEW, State.OPENING):
            raise self._refusal()
        await self._wait_end()

    async def _wait_end(self) -> None:
        if self._life is not None and not self._life.done():
            # Waiting must not cancel what it waits for.
            await asyncio.wait([self._life])

    def _start_closing(self, code: int = NORMAL, reason: str = "") -> None:
        if self._state is State.OPEN:
            self._move_to(State.CLOSING)
            self._link.start_closing(code, reason)

    def _stay_away(self) -> None:
        left = ConnectionClosed(ABNORMAL, f"while it was away: {self._link.error}", by=ClosedBy.US)
        left.__cause__ = self._link.error
        self._fail(left)
        self._move_to(State.CLOSING)
        if self._coming is not None:
            self._coming.cancel()

    def _move_to(self, state: State) -> None:
        if state not in _MOVES[self._state]:
            raise MisuseError(f"this {self._role} is {self._state.value} already; make a new one for a new connection")
        self._state = state
        if state is State.AWAY:
            self._here.clear()
        else:
            self._here.set()


class Probe(Client):
    """Neither publishes nor subscribes: whether it opens says whether there is a server. No event tells of it."""

    _role: ClassVar[str] = "check"


def _now() -> float:
    return asyncio.get_running_loop().time()

"""One connection of a client, from its 101 to its end.

    streams ── bytes ──► Connection ──► pieces of messages: the client's
                             │ ──────► pings: answered here      pongs: whoever flushes
                             ▼
                         the Close, nonsense, or the end of the stream: `error` says which, `on_ending` is called

`live` is the one task that reads and, at the end, takes everything down; the outbox is the only writer. Whoever waits
for room or for a pong is woken at the end. A client that comes back has one of these after the other; what this one
was not sure of stays with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

from pubsub.closing import ABNORMAL, NO_STATUS, NORMAL
from pubsub.connection import Buffer, Closed, Connection, Piece, Ping, Pong
from pubsub.dialing import Dialed, unacknowledged_bytes
from pubsub.errors import ClosedBy, ConnectionClosed, NoPong, PeerError, PubSubError
from pubsub.gap import place_named
from pubsub.outbox import Outbox

__all__ = ["Link"]

_READ_BYTES = 65536


class _Flush(NamedTuple):
    """Who waits for a pong, and how many messages were sent before its ping."""

    answered: asyncio.Future[None]
    sent: int


class Link:
    """`on_piece` takes parts of messages, `wait_wanted` returns when more may be read, `on_ending` is told as soon as
    nothing more can come: the time until `live` returns is for what is still to be sent.
    """

    def __init__(
        self,
        dialed: Dialed,
        *,
        name: str,
        close_deadline: float,
        on_piece: Callable[[Piece], None],
        wait_wanted: Callable[[], Awaitable[None]],
        on_ending: Callable[[], None],
    ) -> None:
        self._reader, self._writer = dialed.streams
        self._leftover = dialed.leftover
        self._headers = dict(dialed.headers)
        self._name = name
        self._close_deadline = close_deadline
        self._on_piece = on_piece
        self._wait_wanted = wait_wanted
        self._on_ending = on_ending
        self._connection = Connection(client=True)
        self._outbox = Outbox()
        self._ping_numbers = itertools.count(1)
        self._flushes: dict[bytes, _Flush] = {}
        self._close_code = NORMAL
        self._close_timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._confirmed = 0
        # Why it ended; None while it has not, and when we closed it and the server agreed.
        self.error: PubSubError | None = None
        # Where the topic's log was when this began.
        self.place = place_named(dialed.headers)

    @property
    def client_id(self) -> str:
        return self._headers.get("pubsub-client-id", "")

    @property
    def unconfirmed(self) -> int:
        """How many of the messages sent are not known to be in the server's log."""
        return self._sent - self._confirmed

    # --- living ---

    async def live(self) -> None:
        """Returns when it is over, and everything given back."""
        writing = asyncio.create_task(self._outbox.write_to(self._writer), name=f"{self._name}, writing")
        try:
            try:
                await self._read()
            except OSError as error:
                self._lose(error)
            self._on_ending()
            self.start_closing()
            self._outbox.end()
            await writing
            with contextlib.suppress(OSError):
                self._writer.close()
                await self._writer.wait_closed()
        finally:
            self._end()
            writing.cancel()
            await asyncio.wait([writing])

    async def _read(self) -> None:
        """Until nothing more can come: the peer's Close, nonsense, or the end of the stream."""
        data, self._leftover = self._leftover, b""
        while not self._take(data):
            await self._wait_wanted()
            data = await self._reader.read(_READ_BYTES)
            if not data:
                self._lose(None)
                return

    def _take(self, data: bytes) -> bool:
        """Handles what `data` brought; True when nothing more can come."""
        for happening in self._connection.receive(data):
            kind = type(happening)
            if kind is Piece:
                self._on_piece(cast(Piece, happening))
            elif kind is Ping:
                self._outbox.put_pong(self._connection.pong(cast(Ping, happening).payload))
            elif kind is Pong:
                self._on_pong(cast(Pong, happening).payload)
            else:
                self._on_closed(cast(Closed, happening))
                return True
        return False

    def _on_pong(self, payload: bytes) -> None:
        # A pong stands for the pings before its own too, which may have gone unanswered (RFC 6455 section 5.5.3).
        while payload in self._flushes:
            flush = self._flushes.pop(next(iter(self._flushes)))
            self._confirmed = max(self._confirmed, flush.sent)
            if not flush.answered.done():
                flush.answered.set_result(None)

    def _on_closed(self, closed: Closed) -> None:
        if closed.error:
            self._fail(PeerError(f"the server broke the protocol: {closed.reason}", code=closed.code))
        elif not self._connection.close_sent or closed.code not in (NORMAL, NO_STATUS, self._close_code):
            # A Close that crossed ours and says why is news; one that repeats ours is the answer to it.
            self._fail(ConnectionClosed(closed.code, closed.reason, by=ClosedBy.PEER))
        else:
            # The answer to our Close is sent only when everything before it is in the log.
            self._confirmed = self._sent
        self._outbox.put(self._connection.close(closed.code, closed.reason if closed.error else ""))

    def _lose(self, cause: OSError | None) -> None:
        lost = ConnectionClosed(ABNORMAL, str(cause or ""), by=ClosedBy.NETWORK)
        lost.__cause__ = cause
        self._fail(lost)

    def _fail(self, error: PubSubError) -> None:
        # The first error is the cause; what follows follows from it.
        self.error = self.error or error

    # --- sending ---

    def wait_room(self) -> Awaitable[None]:
        """Is over when there is room, and when there never will be: look at the client's state afterwards."""
        return self._outbox.wait_room()

    def put_message(self, data: Buffer | str) -> None:
        """Queues a message; wait for room first."""
        self._outbox.put(self._connection.message(data))
        self._sent += 1

    async def wait_pong(self, deadline: float) -> None:
        """Returns when the server has answered a ping that went out after everything before it.

        Raises NoPong when it takes and answers nothing for `deadline` seconds, and why the connection ended first.
        """
        payload = b"flush %d" % next(self._ping_numbers)
        answered = asyncio.get_running_loop().create_future()
        self._flushes[payload] = _Flush(answered, self._sent)
        self._outbox.put(self._connection.ping(payload))
        try:
            while not answered.done():
                before = self._taken_bytes()
                await asyncio.wait([answered], timeout=deadline)
                # While the server takes bytes it is alive, and busy with what came before the ping, or pacing.
                if not answered.done() and self._taken_bytes() == before:
                    raise NoPong(
                        f"no pong, and no byte taken, for pong_deadline={deadline:g} s; "
                        f"flush again to go on waiting, or raise it"
                    )
            answered.result()
        finally:
            self._flushes.pop(payload, None)

    def _taken_bytes(self) -> int:
        """How much of what was sent has arrived at the server's machine."""
        return self._outbox.written_bytes - unacknowledged_bytes(self._writer)

    # --- closing ---

    def start_closing(self, code: int = NORMAL, reason: str = "") -> None:
        """Queues our Close, unless it is out; from now on the server has to take something every `close_deadline`."""
        if self._close_timer is None:
            self._close_code = code
            self._outbox.put(self._connection.close(code, reason))
            self._watch_closing()

    def _watch_closing(self, taken_before: int | None = None) -> None:
        """Cuts the connection after `close_deadline` in which the server took nothing."""
        taken = self._taken_bytes()
        if taken == taken_before:
            self.abort()
        else:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(self._close_deadline, self._watch_closing, taken)

    def abort(self) -> None:
        """Cuts it: `live` returns soon."""
        # With TLS, in CPython 3.11.2 (Debian 12): of a transport that was closed twice there is nothing left to abort.
        with contextlib.suppress(AttributeError):
            self._writer.transport.abort()

    def _end(self) -> None:
        self.abort()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if not self._connection.close_received:
            # Cut, or cancelled with the whole loop.
            self._lose(None)
        for flush in self._flushes.values():
            if not flush.answered.done():
                flush.answered.set_exception(self.error or ConnectionClosed(NORMAL, by=ClosedBy.US))

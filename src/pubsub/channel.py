"""Channels: clients of a web server's, each from its 101 to its end.

    web server ──► Wire.receive ──► _receive_all ──► topic.publish()
    web server ◄── Wire.send    ◄── _send_all    ◄── a cursor over the topic's log

Where the engine has the socket it does all of this itself, for any number of clients at once. Here a web server has it,
and gives us one awaited call for each message; so a channel has a task for each direction. What holds for a plain
socket's client holds for it: its place in the log is a cursor under the lag rules, a send that takes longer than
subscriber_write_timeout is a stall, and a publisher is not read while its topic is paced or memory is short.

How one ends: whoever finds a reason first (`_finish`) decides; both tasks are cancelled, and where it is ours to say so
a Close goes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

import fastfan
from pubsub import closing
from pubsub.desk import is_paced
from pubsub.handshake import Admission, Headers, Refusal, Role
from pubsub.rates import FRAME_HEADER_BYTES, Rate
from pubsub.session import (
    LIMITS,
    VERDICTS,
    Session,
    message_size,
    new_uid,
    sent_too_much,
    too_big,
)

if TYPE_CHECKING:
    from pubsub.broker import Broker
    from pubsub.connection import Closed
    from pubsub.desk import Desk

__all__ = ["Channel", "Gone", "Wire"]

# Copied out of the log at a time: what a slow client's server is given cannot be skipped, nor counted as lag, any more.
_BATCH_MESSAGES = 256
_BATCH_BYTES = 65536


# The web server has the socket: what it took of a message nobody tells.
_STALLED = "stalled: a message took longer than subscriber_write_timeout; read faster"
# What the close code says that a client has left with; a web server closes with 1009 by a limit of its own.
_LEFT_BY = {closing.ABNORMAL: "left", closing.TOO_BIG: closing.closing(closing.TOO_BIG).label}


class Gone(NamedTuple):
    """The client has left; 1006 where it did so without a Close."""

    code: int


class Wire(Protocol):
    """A web server's side of one client. An OSError from any of these says that the client is gone."""

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        """Answers the request with a 101."""

    async def refuse(self, refusal: Refusal) -> None:
        """Answers it with anything else; the last call."""

    async def receive(self) -> bytes | str | Gone:
        """The next message, or the end."""

    async def send(self, data: bytes | str) -> None:
        """Waits until the server has room for it."""

    async def close(self, code: int, reason: str) -> None:
        """Sends a Close; the last call."""


class _Ending(NamedTuple):
    """Why it ended: `label` for the departures; our Close, None where the client has gone already."""

    label: str
    code: int | None = None
    reason: str = ""
    limit: str = ""  # the option that was exceeded


class Channel:
    """One admitted client. Belongs to the event loop of `desk`; `run` is its whole life."""

    def __init__(self, broker: Broker, desk: Desk, wire: Wire, admission: Admission, topic: fastfan.Topic) -> None:
        self._broker = broker
        self._desk = desk
        self._wire = wire
        self._topic = topic
        self._session = Session(0, self._topic, admission.role, admission.name, new_uid())
        self._subprotocol = admission.subprotocol
        self._told = asyncio.Event()
        self._ended: asyncio.Future[_Ending] = desk.loop.create_future()
        self._ending = False
        self._ignored = Rate()
        # Sends begun and done, and how long the one under way had taken at the last look.
        self._begun = self._done = self._seen = 0
        self._waited = 0.0
        # Under `latest` what is taken cannot be skipped any more, so no more than one at a time.
        self._batch_messages = 1 if self._topic.policy == "latest" else _BATCH_MESSAGES
        self._cursor = desk.open(self._topic, self) if Role.SUBSCRIBER in admission.role else None

    @property
    def wire(self) -> Wire:
        return self._wire

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._desk.loop

    async def run(self) -> None:
        """Accepts the client and serves it to its end. Cancelled, it lets go of everything."""
        try:
            offset = self._topic.next_offset if self._cursor is None else self._cursor.offset
            await self._wire.accept(self._subprotocol, self._session.headers(offset))
        except OSError:
            self.close()
            return
        except BaseException:
            self.close()
            raise
        try:
            self._broker.census.joined(self._session)
            await self._attend()
        finally:
            # A server may cancel us the moment that the client has left: the reason stands then as well.
            found = self._ended.done() and not self._ended.cancelled() and self._ended.exception() is None
            label = self._ended.result().label if found else "aborted"
            self.close()
            self._broker.census.left(self._session, label)

    async def _attend(self) -> None:
        tasks = [self.loop.create_task(self._guarded(self._receive_all()))]
        if self._cursor is not None:
            tasks.append(self.loop.create_task(self._guarded(self._send_all())))
        try:
            # Shielded, because a cancelled one could say nothing of a reason that is found at the same moment.
            ending = await asyncio.shield(self._ended)
        finally:
            for task in tasks:
                task.cancel()
            # Not gather(): cancelled, it raises what its tasks raised, and whoever cancelled us knows its own error.
            await asyncio.wait(tasks)
        if ending.code is not None:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._broker.options.close_deadline):
                    await self._wire.close(ending.code, _cut(ending.reason))

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except OSError:
            self._finish(_Ending("reset"))
        except asyncio.CancelledError:
            self._finish(_Ending("aborted"))  # by the server, where we have not ended yet
            raise
        except Exception as error:
            # A fault of the web server's or ours: the server is to see it, as of any application.
            if not self._ended.done():
                self._ended.set_exception(error)
                self._ended.exception()  # it is raised in _attend(), unless that is cancelled first

    def _finish(self, ending: _Ending) -> None:
        if not self._ended.done():
            if ending.limit:
                self._broker.census.met(ending.limit)
            self._ended.set_result(ending)

    # --- what it sends ---

    async def _receive_all(self) -> None:
        limit = self._broker.options.max_message_bytes
        publishes = Role.PUBLISHER in self._session.role
        while True:
            message = await self._wire.receive()
            if isinstance(message, Gone):
                self._finish(_Ending(_LEFT_BY.get(message.code, "closed")))
                return
            size = message_size(message)
            if size > limit:
                self._break(too_big(size, limit))
                return
            if publishes:
                await self._publish(message, size)
            elif self._is_over_ignored(size):
                self._break(sent_too_much(self._broker.options))
                return
            else:
                self._broker.census.ignored()

    def _break(self, closed: Closed) -> None:
        self._finish(_Ending(closing.closing(closed.code).label, closed.code, closed.reason, closed.limit))

    def _is_over_ignored(self, size: int) -> bool:
        most, pauses = self._broker.options.max_ignored_bytes, self._desk.pauses
        sent = self._ignored.add(size + FRAME_HEADER_BYTES, pauses.clock())
        return most is not None and sent > most and not pauses.just_resumed()

    async def _publish(self, message: bytes | str, size: int) -> None:
        cursor = self._cursor
        if not self._broker.engine.roomy or is_paced(self._topic, cursor):
            await self._desk.room(self._topic, cursor)
        try:
            self._topic.publish(message)
        except fastfan.Overloaded as error:
            # There was room, and this one message is larger than that.
            self._finish(_Ending("try_later", closing.TRY_LATER, f"too full: {error}", "max_memory_bytes"))
        except fastfan.EngineClosed:
            self.close()
        else:
            self._broker.census.published(1, size)

    # --- what it is owed ---

    async def _send_all(self) -> None:
        # Told of more, it takes a batch; where that was not all, it is told again, after others had their turn.
        while True:
            await self._told.wait()
            self._told.clear()
            batch = self._take()
            for _, data in batch:
                self._begun += 1
                await self._wire.send(data)
                self._done += 1
            if self._ending and not batch:
                self._restart()
                return
            if self._ending:
                self._told.set()

    def _take(self) -> list[tuple[int, bytes | str]]:
        assert self._cursor is not None
        try:
            return self._cursor.read(self._batch_messages, max_bytes=_BATCH_BYTES)
        except fastfan.TooFarBehind:
            cause = fastfan.Cause(self._cursor.cause)
            self._finish(_Ending(cause.name.lower(), *VERDICTS[cause], LIMITS[cause]))
        except fastfan.MisuseError:
            self._restart()  # the hub is being closed
        return []

    def age(self, step: float) -> None:
        """Advances the clock of a send under way by `step` seconds."""
        if self._begun == self._done or self._begun != self._seen:
            self._seen, self._waited = self._begun, 0.0
            return
        self._waited += step
        if self._waited >= self._broker.options.subscriber_write_timeout:
            self._finish(_Ending("stalled", closing.TRY_LATER, _STALLED, LIMITS[fastfan.Cause.STALLED]))

    # --- for its desk ---

    def tell(self) -> None:
        if self._begun != self._done and self._cursor is not None and self._cursor.cause:
            # Not when the send under way is over: that may be what is too slow.
            self._take()
        self._told.set()

    def end(self) -> None:
        """Nothing more will be published: it is closed with 1012 when it has been sent everything."""
        self._ending = True
        self._told.set()
        if self._cursor is None:
            self._restart()

    def _restart(self) -> None:
        row = closing.closing(closing.RESTART)
        self._finish(_Ending("closed", row.code, row.reason))

    def close(self) -> None:
        """Lets go of the log, and is closed with 1012 where it has not ended yet."""
        if self._cursor is not None:
            self._cursor.close()
        self._restart()
        self._desk.note_closed()

    @property
    def closed(self) -> bool:
        return self._ended.done()


def _cut(reason: str) -> str:
    # RFC 6455 section 5.5: a Close has 125 bytes, two of them the code's. Not every web server cuts what is longer.
    return reason.encode()[:123].decode("utf-8", "ignore")

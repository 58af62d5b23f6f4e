"""The server: an engine, a door, and the timer that beats for both.

One asyncio loop drives it. The engine's work is done in `_on_work`, whenever its descriptor says there is some; what
the engine reports goes to the sessions. No task runs: everything is a callback, and stops when the server is closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Generator
from types import TracebackType

import fastfan
from pubsub.addresses import ListenAddress
from pubsub.arrival import Door
from pubsub.broker import Broker
from pubsub.desk import Desk
from pubsub.errors import ConfigError, MisuseError
from pubsub.handshake import Role
from pubsub.inprocess import InProcess
from pubsub.leaving import GRACE, Leaving
from pubsub.listening import listen
from pubsub.options import Options, checked_options
from pubsub.reconnect import checked_seconds
from pubsub.session import Sessions

__all__ = ["Server", "Serving", "serve", "serve_inherited"]

# Chunks and news dealt with before the loop looks at anything else, in batches, unless that takes longer than this; and
# how long the engine waits meanwhile. Seconds.
_EVENTS_AT_ONCE = 64
_BATCH = 4
_WORK_AT_ONCE = 0.01
_TURN_EVERY = 0.002
# A request that is under way when it closes may be finished within this.
_ARRIVING = 0.25
# Of the time that there is, for the Closes; the rest is for those who get the last of them to answer in.
_SPREAD_SHARE = 0.8


class Server(InProcess):
    """A running server, made by `serve()`. Its methods belong to its event loop, except `publish` and `stats`."""

    def __init__(
        self, broker: Broker, listeners: list[socket.socket], *, owns_broker: bool, inherited: bool = False
    ) -> None:
        """Takes the engine's events: of the servers of a broker there is one at a time."""
        self._broker = broker
        self._owns_broker = owns_broker
        self._options = broker.options
        self._engine = broker.engine
        self._loop = asyncio.get_running_loop()
        self._desk = Desk(self._engine)
        self._sessions = Sessions(
            self._engine,
            self._options,
            broker.census,
            broker.gate,
            pauses=self._desk.pauses,
            on_room=self._desk.tell_room,
        )
        self._leaving = Leaving(self._sessions)
        self._closing: asyncio.Task[None] | None = None
        address = listeners[0].getsockname()
        self._address = ListenAddress(address[0], address[1]) if isinstance(address, tuple) else ListenAddress("", 0)
        self._watched = [self._engine.events_fileno()]
        if not self._options.io_threads:
            self._watched.append(self._engine.work_fileno())
        for fileno in self._watched:
            self._loop.add_reader(fileno, self._on_work)
        self._door = Door(listeners, broker, self._sessions, inherited=inherited)
        self._beat_interval = _beat_interval(self._options)
        self._timer = self._loop.call_later(self._beat_interval, self._beat)

    def _running(self) -> Broker:
        return self._broker

    def _here(self) -> Desk:
        return self._desk

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it belongs to."""
        return self._loop

    @property
    def port(self) -> int:
        """The port it listens on; the kernel's choice when 0 was asked for."""
        return self._address.port

    @property
    def url(self) -> str:
        """Where a client on this machine connects; a topic's path goes behind it."""
        return self._address.url()

    @property
    def closed(self) -> bool:
        """Whether it has closed, and given everything back."""
        return self._closing is not None and self._closing.done() and not _failed(self._closing)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- the engine's driver ---

    def _turn(self) -> None:
        if not self._options.io_threads:
            self._engine.turn()

    def _on_work(self) -> None:
        self._turn()
        turned = begun = self._loop.time()
        told = 0
        # Without the lane one event may be ten thousand messages: then signals and newcomers come before the next.
        while told < _EVENTS_AT_ONCE and turned - begun < _WORK_AT_ONCE:
            events = self._engine.take_events(_BATCH)
            if not events:
                break
            told += len(events)
            for event in events:
                self._handle(event)
                if self._loop.time() - turned > _TURN_EVERY:
                    # A crowd of publishers must not hold up what is already published.
                    self._turn()
                    turned = self._loop.time()
        if not told:
            return
        # What was published and answered goes out now, not after another round of the loop.
        self._turn()
        self._leaving.look_again()

    def _handle(self, event: tuple[int, int, int, int, bytes]) -> None:
        try:
            kind, token, detail, _, data = event
            self._sessions.handle(kind, token, detail, data)
        except Exception as error:
            # A fault of ours costs the connection it showed up on, and nobody else's events.
            self._loop.call_exception_handler({"message": "fastfan: an event could not be handled", "exception": error})
            self._engine.abort(event[1])

    def _beat(self) -> None:
        step = self._beat_interval
        self._timer = self._loop.call_later(step, self._beat)
        options = self._options
        # A step counts at most twice, so that a pause of this process is held against nobody.
        self._engine.beat(options.ping_interval, options.pong_deadline, 2 * step)
        self._door.age(step)
        self._sessions.age(step)
        self._broker.sweep(step)

    # --- the end ---

    def abandon(self) -> None:
        """Its loop has ended without it: gives its sockets back. Any thread."""
        self._door.abandon()
        self._desk.abandon()

    async def close(self, *, drain: float = 0.0) -> None:
        """Stops accepting and closes everybody with 1012; returns when all is given back. Safe to call again.

        Within `drain` seconds publishers' last messages are taken and subscribers get what they are owed. Closes are
        spread over that time, so that not all come back in the same second; it ends as soon as everybody has gone. What
        is left after it has half a second to take its Close, and is then reset. Raises MisuseError for a `drain` that
        is no number of seconds, before anything happens.
        """
        drain = checked_seconds("drain", drain, lowest=0.0)
        if self._closing is None or _failed(self._closing):
            self._closing = self._loop.create_task(self._close(drain))
        await asyncio.shield(self._closing)

    async def _close(self, drain: float) -> None:
        self._door.stop_listening()
        ends = self._loop.time() + drain
        if drain > 0:
            await self._door.wait_arrived(min(_ARRIVING, drain))
            # Publishers first, so that their last messages still reach everybody. Their Closes take as much of the time
            # as they are of all; who does not answer gets half of the rest.
            publishers = self._sessions.count(Role.PUBLISHER) / max(self._sessions.count(Role.DUPLEX), 1)
            spread = drain * _SPREAD_SHARE * publishers
            until = self._loop.time() + (spread + drain) / 2
            await self._leaving.spread(Role.PUBLISHER, spread, until=until)
            await self._leaving.wait_gone(Role.PUBLISHER, max(until - self._loop.time(), 0.0))
            await self._leaving.spread(Role.DUPLEX, max(ends - self._loop.time(), 0.0) * _SPREAD_SHARE, until=ends)
        self._door.refuse_all()
        patience = max(ends - self._loop.time(), 0.0) + GRACE
        await self._leaving.send_off(Role.DUPLEX, patience=patience, after_log=drain > 0)
        if drain > 0:
            await self._desk.read_out(max(ends - self._loop.time(), 0.0))
        self._desk.close()
        self._door.close()
        await self._let_go()

    async def _let_go(self) -> None:
        """Resets who is left, and hands the engine back."""
        if not self._owns_broker:
            for session in self._sessions.all():
                self._engine.abort(session.token)
            await self._leaving.wait_gone(Role.DUPLEX, GRACE)
        self._timer.cancel()
        for fileno in self._watched:
            self._loop.remove_reader(fileno)
        if self._owns_broker:
            self._engine.close()
        for event in self._engine.take_events(1 << 30):
            # Nobody takes orders any more; who was reset is still to be told of.
            if event[0] == fastfan.EventKind.DEPARTED:
                self._handle(event)
        self._sessions.forget_all()
        if self._owns_broker:
            self._broker.close()


def _failed(closing: asyncio.Task[None]) -> bool:
    """Whether it ended before its end, by a fault of ours or with its loop; then another one may succeed."""
    return closing.done() and (closing.cancelled() or closing.exception() is not None)


def _beat_interval(options: Options) -> float:
    # Every deadline is kept to an eighth of itself, and a second at most.
    deadlines = (
        options.ping_interval,
        options.pong_deadline,
        options.close_deadline,
        options.handshake_deadline,
        options.message_timeout,
    )
    return max(0.01, min(1.0, *(deadline / 8 for deadline in deadlines)))


class Serving:
    """What `serve()` returns: awaited it gives the Server, with `async with` it is closed at the end. Once."""

    def __init__(
        self,
        broker: Callable[[], Broker],
        listeners: list[socket.socket],
        *,
        owns_broker: bool,
        inherited: bool = False,
        begun: Callable[[Server], None] = lambda server: None,
    ) -> None:
        self._broker = broker
        self._listeners = listeners
        self._owns_broker = owns_broker
        self._inherited = inherited
        self._begun = begun
        self._server: Server | None = None
        self._has_begun = False

    async def _start(self) -> Server:
        if self._has_begun:
            raise MisuseError("this has begun already; call serve() or listen() once more for another server")
        self._has_begun = True
        try:
            self._server = Server(
                self._broker(), self._listeners, owns_broker=self._owns_broker, inherited=self._inherited
            )
        except BaseException as error:
            for listener in self._listeners:
                listener.close()
            if isinstance(error, OSError):
                raise ConfigError(f"cannot start: {error.strerror}; raise the limit of open files") from error
            raise
        self._begun(self._server)
        return self._server

    def __await__(self) -> Generator[None, None, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        return await self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        await self._server.close()


def serve(
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    options: Options | None = None,
    sock: socket.socket | None = None,
) -> Serving:
    """Starts a server: `async with serve(...) as server`, or `server = await serve(...)`.

    An empty host means all interfaces, port 0 any free one. `sock` is a listening socket to use instead; the server
    owns it from then on. The sockets listen when this returns. Raises ConfigError when the address cannot be had, and
    MisuseError for a `sock` that does not listen, or what else is no argument.
    """
    chosen = checked_options(options)
    return Serving(lambda: Broker(chosen), listen(host, port, sock), owns_broker=True)


def serve_inherited(listeners: list[socket.socket], *, options: Options | None = None) -> Serving:
    """The same on sockets that listen already and that live on elsewhere, as a service manager's do. It owns its copies
    of them, and leaves to whoever serves next those who wait in their backlog when it closes."""
    chosen = checked_options(options)
    return Serving(lambda: Broker(chosen), listeners, owns_broker=True, inherited=True)

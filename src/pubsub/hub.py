"""The hub: topics inside a web application.

    app.mount("/live", hub)          clients come through the application's web server      Channel
    hub.publish, hub.subscribe       the application itself                                 InProcess
    hub.listen(port=…)               clients come to a port of its own, at full speed       Server

All of them share one broker, and so the topics. It is made when it is first needed, in whatever thread that is, and
ends with the application's lifespan or with close(). Clients may be served in several event loops at once (a test
client has one for each); each loop has a desk of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Self
from weakref import WeakSet

import fastfan
from pubsub import closing, http_door
from pubsub.asgi import AsgiWire, Receive, Scope, Send, answer_http, request_of
from pubsub.broker import Broker
from pubsub.channel import Channel, Wire
from pubsub.desk import Desk
from pubsub.errors import ConfigError, MisuseError, shown
from pubsub.handshake import Admission, Refusal, Request, admit, role_named
from pubsub.inprocess import InProcess
from pubsub.listening import listen
from pubsub.options import Options
from pubsub.server import Server, Serving

__all__ = ["Hub"]

# After the last Close, clients have so long to take it before their channels are left to the web server.
_GRACE = 0.5
_LOOK_EVERY = 0.01
_NO_WEBSOCKET = "the web server passed the upgrade on as plain HTTP; give it a WebSocket library (uvicorn: websockets)"
_CLOSING = Refusal(503, "the application is closing; connect again in a while", ((b"Retry-After", b"1"),))

_hubs: WeakSet[Hub] = WeakSet()
_watched: list[int] = []  # the process that watches its forks


def _watch_forks() -> None:
    """After a fork the broker is the parent's: the child's hubs begin anew."""

    def begin_anew() -> None:
        for hub in list(_hubs):
            hub._begin_anew()

    if not _watched:
        _watched.append(os.getpid())
        os.register_at_fork(after_in_child=begin_anew)


class Hub(InProcess):
    """An ASGI application of topics: `app.mount("/live", hub)`. Options, roles and events are those of `serve()`.

    A topic is the request's path behind the mount, escaped as it came, so it is the same one that `serve()` and
    `hub.listen()` have; with `full_path` it is the whole path, as in the Go program. What a web server keeps to itself
    are pings, the limits on a request and the pong to a client's ping, which says nothing of the log: see
    docs/web-applications.md.

    `publish` and `stats` may be called from any thread, so from plain `def` endpoints too. Raises ConfigError for
    options without I/O threads: a web server's event loop is not the hub's to drive the engine with.
    """

    def __init__(self, options: Options | None = None, *, full_path: bool = False) -> None:
        self._options = options or Options()
        if self._options.io_threads == 0:
            raise ConfigError("io_threads=0 leaves nobody to drive a hub's engine; give at least 1")
        self._full_path = full_path
        self._begin_anew()
        _watch_forks()
        _hubs.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._broker: Broker | None = None
        self._server: Server | None = None
        self._desks: dict[asyncio.AbstractEventLoop, Desk] = {}
        self._channels: set[Channel] = set()
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}
        self._closed = False

    @property
    def options(self) -> Options:
        return self._options

    # --- life ---

    def lifespan(self, app: object = None) -> AbstractAsyncContextManager[None]:
        """For `FastAPI(lifespan=hub.lifespan)`; within a lifespan of your own: `async with hub.lifespan(): yield`."""
        return self._lifespan()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        async with self:
            yield

    async def __aenter__(self) -> Self:
        self._closed = False
        self._running()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _running(self) -> Broker:
        broker = self._broker
        if broker is None:
            with self._lock:
                if self._closed:
                    raise MisuseError("this hub is closed; it begins again with its lifespan, or `async with hub`")
                if self._broker is None:
                    self._broker = Broker(self._options)
                broker = self._broker
        return broker

    def _here(self) -> Desk:
        broker = self._running()
        loop = asyncio.get_running_loop()
        desk = self._desks.get(loop)
        if desk is None:
            with self._lock:
                for old in [each for each in self._desks if each.is_closed()]:
                    self._desks.pop(old).abandon()
                desk = self._desks[loop] = Desk(broker.engine)
        return desk

    async def close(self, *, drain: float = 0.0) -> None:
        """Closes everybody with 1012, and gives everything back; `async with hub` begins again.

        Within `drain` seconds publishers' last messages are taken where they come through `listen()`, and subscribers
        get what they are owed. Clients that are then left are their web server's to end.
        """
        with self._lock:
            self._closed = True
            broker, self._broker = self._broker, None
            server, self._server = self._server, None
        if broker is None:
            return
        if server is not None:
            await server.close(drain=drain)
        await self._end_channels(drain)
        for desk in self._desks.values():
            _in_its_loop(desk.loop, desk.close)
        for loop, timer in self._timers.items():
            _in_its_loop(loop, timer.cancel)
        self._desks, self._timers = {}, {}
        broker.close()

    async def _end_channels(self, drain: float) -> None:
        for channel in list(self._channels):
            if not _in_its_loop(channel.loop, channel.end if drain > 0 else channel.close):
                self._channels.discard(channel)
        loop = asyncio.get_running_loop()
        ends = loop.time() + drain + _GRACE
        # They may be in several loops, so there is nothing to wait for but that they have gone.
        while self._channels and loop.time() < ends:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY)

    # --- doors ---

    def listen(self, host: str = "127.0.0.1", port: int = 8080, *, sock: socket.socket | None = None) -> Serving:
        """The same topics on a port of their own: `async with hub.listen(port=9000)`, or awaited.

        There the engine has the sockets itself, and serves them as `serve()` does. An empty host means all interfaces,
        port 0 any free one. The Server that it gives ends with the hub; a hub has one at a time. Raises what `serve()`
        raises, and MisuseError while there is one.
        """
        return Serving(self._lend, listen(host, port, sock), owns_broker=False, begun=self._on_listening)

    def _lend(self) -> Broker:
        if self._server is not None and not self._server.closed:
            raise MisuseError(f"this hub listens on {self._server.url} already; close that server first")
        return self._running()

    def _on_listening(self, server: Server) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
            return
        request = request_of(scope, full_path=self._full_path)
        if scope["type"] == "websocket":
            await self.welcome(AsgiWire(scope, receive, send), request)
        else:
            await answer_http(scope, send, self.refusal(request, scope["method"]))

    async def handle(self, scope: Scope, receive: Receive, send: Send, *, topic: str, role: str) -> None:
        """Serves one WebSocket of a route of yours, which has decided on topic and role; returns when it has ended.

        For a route that asks who somebody is: `await hub.handle(ws.scope, ws.receive, ws.send, topic="/news",
        role="subscriber")`, before anything was accepted. What the request says of topic and role does not count; name,
        subprotocol and Origin do. Raises MisuseError for a topic that is no path, or another role than publisher,
        subscriber or duplex.
        """
        chosen = role_named(role)
        if not chosen:
            raise MisuseError(f"role={shown(role)} is unknown; give publisher, subscriber or duplex")
        name = self.topic(topic).name
        request = request_of(scope, full_path=True)
        if isinstance(request, Request):
            query = request.target.partition("?")
            request = request._replace(target=name + query[1] + query[2])
        await self.welcome(AsgiWire(scope, receive, send), request, role=role)

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        """Where a server has the hub for its whole application."""
        await receive()
        try:
            await self.__aenter__()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def refusal(self, request: Request | Refusal, method: str) -> Refusal:
        """The answer to a request that is no WebSocket's, for an adapter to another web server; it counts."""
        if isinstance(request, Request):
            request = http_door.judge(request, method.encode("ascii"), _NO_WEBSOCKET)
        if not self._closed:
            self._running().census.refused(request)
        return request

    # --- clients ---

    async def welcome(self, wire: Wire, request: Request | Refusal, *, role: str | None = None) -> None:
        """Serves one client to its end: what an adapter to another web server calls (see `Wire`)."""
        outcome = admit(request, self._options, role=role) if isinstance(request, Request) else request
        if self._closed:
            outcome = _CLOSING
        with suppress(OSError):  # it left before it was answered
            if isinstance(outcome, Refusal):
                if not self._closed:
                    self._running().census.refused(outcome)
                await wire.refuse(outcome)
            elif not outcome.role:
                # A health check: a whole handshake, and nothing else.
                await wire.accept(outcome.subprotocol, ())
                await wire.close(closing.NORMAL, "")
            else:
                await self._serve(wire, outcome)

    async def _serve(self, wire: Wire, admission: Admission) -> None:
        try:
            broker, desk = self._running(), self._here()
            channel = Channel(broker, desk, wire, admission)
        except (MisuseError, fastfan.MisuseError):  # closed just now
            await wire.refuse(_CLOSING)
            return
        self._channels.add(channel)
        if desk.loop not in self._timers:
            self._beat(desk.loop, broker)
        try:
            await channel.run()
        finally:
            self._channels.discard(channel)

    def _beat(self, loop: asyncio.AbstractEventLoop, broker: Broker) -> None:
        """The clock of a loop's channels, as long as there are any."""
        step = min(1.0, self._options.subscriber_write_timeout / 8)
        channels = [channel for channel in list(self._channels) if channel.loop is loop]
        for channel in channels:
            channel.age(step)
        if broker is self._broker:
            broker.sweep(step)
        if channels and not self._closed:
            self._timers[loop] = loop.call_later(step, self._beat, loop, broker)
        else:
            self._timers.pop(loop, None)


def _in_its_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> bool:
    """Whether there is still a loop to call it in."""
    try:
        if loop is asyncio.get_running_loop():
            call()
        else:
            loop.call_soon_threadsafe(call)
    except RuntimeError:
        return False
    return True

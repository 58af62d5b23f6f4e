"""The hub: topics inside a web application.

    app.mount("/live", hub)          clients come through the application's web server      Channel
    hub.publish, hub.subscribe       the application itself                                 InProcess
    hub.listen(port=…)               clients come to a port of its own, at full speed       Server

All of them share one broker, and so the topics. It is made when it is first needed, in whatever thread that is, and
ends with the application's lifespan or with close(). Clients may be served in several event loops at once (a test
client has one for each); each loop has a desk of its own.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Self
from weakref import WeakSet

import fastfan
from pubsub import closing, http_door
from pubsub.addresses import topic_path
from pubsub.asgi import AsgiWire, Receive, Scope, Send, answer_http, request_of
from pubsub.broker import Broker
from pubsub.channel import Channel, Wire
from pubsub.desk import Desk
from pubsub.errors import ConfigError, MisuseError, shown
from pubsub.gate import address_of
from pubsub.handshake import Admission, Refusal, Request, admit, role_named, try_later
from pubsub.inprocess import InProcess
from pubsub.listening import listen
from pubsub.options import Options, checked_options
from pubsub.reconnect import checked_seconds
from pubsub.server import Server, Serving
from pubsub.term import Term

__all__ = ["Hub"]

_NO_WEBSOCKET = "the web server passed the upgrade on as plain HTTP; give it a WebSocket library (uvicorn: websockets)"
_CLOSING = try_later("the application is closing; connect again in a while")

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

    `publish` and `stats` may be called from any thread, so from plain `def` endpoints too. Raises MisuseError for
    options that are no Options, and ConfigError for such without I/O threads: a web server's event loop is not the
    hub's to drive the engine with.
    """

    def __init__(self, options: Options | None = None, *, full_path: bool = False) -> None:
        self._options = checked_options(options)
        if self._options.io_threads == 0:
            raise ConfigError("io_threads=0 leaves nobody to drive a hub's engine; give at least 1")
        self._full_path = full_path
        self._begin_anew()
        _watch_forks()
        _hubs.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._term: Term | None = None
        self._closed = False
        self._entered = 0

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
        with self._lock:
            self._entered += 1
            self._closed = False
        try:
            self._open_term()
        except BaseException:
            with self._lock:
                self._entered -= 1
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def leave(self, wires: Collection[Wire] = ()) -> None:
        """For an adapter to another web server, when that ends: the end of an `__aenter__`. The last one closes the
        hub, any other the clients of these wires, with 1012; they are to be of the running loop."""
        with self._lock:
            self._entered = max(0, self._entered - 1)
            last, term = not self._entered, self._term
        if last:
            await self.close()
        elif term is not None:
            await term.send_away(wires)

    def _open_term(self) -> Term:
        term = self._term
        if term is None:
            with self._lock:
                if self._closed:
                    raise MisuseError("this hub is closed; it begins again with its lifespan, or `async with hub`")
                if self._term is None:
                    self._term = Term(self._options)
                term = self._term
        return term

    def _running(self) -> Broker:
        return self._open_term().broker

    def _here(self) -> Desk:
        desk = self._open_term().desk()
        if desk is None:
            raise MisuseError("this hub is closing; it begins again with its lifespan, or `async with hub`")
        return desk

    async def close(self, *, drain: float = 0.0) -> None:
        """Closes everybody with 1012, and gives everything back; `async with hub` begins again. Safe to call again.

        Within `drain` seconds publishers' last messages are taken where they come through `listen()`, and subscribers
        get what they are owed. Clients that are then left are their web server's to end. Cancelled, it gives everything
        back at once. Raises MisuseError for a `drain` that is no number of seconds from 0 on, before it does anything.
        """
        drain = checked_seconds("drain", drain, lowest=0.0)
        term = self._term
        with self._lock:
            self._closed = True
        if term is None:
            return
        try:
            await term.close(drain)
        finally:
            with self._lock:
                if self._term is term:
                    self._term = None

    # --- doors ---

    def listen(self, host: str = "127.0.0.1", port: int = 8080, *, sock: socket.socket | None = None) -> Serving:
        """The same topics on a port of their own: `async with hub.listen(port=9000)`, or awaited.

        There the engine has the sockets itself, and serves them as `serve()` does. An empty host means all interfaces,
        port 0 any free one. The Server that it gives ends with the hub; a hub has one at a time. Raises what `serve()`
        raises, and MisuseError while there is one.
        """
        return Serving(self._lend, listen(host, port, sock), owns_broker=False, begun=self._on_listening)

    def _lend(self) -> Broker:
        term = self._open_term()
        if term.server is not None and not term.server.closed:
            raise MisuseError(f"this hub listens on {term.server.url}; close that server first")
        return term.broker

    def _on_listening(self, server: Server) -> None:
        self._open_term().server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
            return
        request = request_of(scope, full_path=self._full_path)
        if scope["type"] == "websocket":
            await self.welcome(AsgiWire(scope, receive, send), request, peer=_peer(scope))
        else:
            await answer_http(scope, send, self.refusal(request, scope["method"]))

    async def handle(self, scope: Scope, receive: Receive, send: Send, *, topic: str, role: str) -> None:
        """Serves one WebSocket of a route of yours, which has decided on topic and role; returns when it has ended.

        For a route that asks who somebody is: `await hub.handle(ws.scope, ws.receive, ws.send, topic="/news",
        role="subscriber")`, before anything was accepted. What the request says of topic and role does not count; name,
        subprotocol and Origin do. Raises MisuseError for a topic that is no path, another role than publisher,
        subscriber or duplex, and a WebSocket that was accepted already.
        """
        chosen = role_named(role)
        if not chosen:
            raise MisuseError(f"role={shown(role)} is unknown; give publisher, subscriber or duplex")
        name = topic_path(topic)
        request = request_of(scope, full_path=True)
        if isinstance(request, Request):
            query = request.target.partition("?")
            request = request._replace(target=name + query[1] + query[2])
        await self.welcome(AsgiWire(scope, receive, send), request, role=role, peer=_peer(scope))

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
        # The server has closed its clients already.
        await self.leave()
        await send({"type": "lifespan.shutdown.complete"})

    def refusal(self, request: Request | Refusal, method: str) -> Refusal:
        """The answer to a request that is no WebSocket's, for an adapter to another web server; it counts."""
        if isinstance(request, Request):
            request = http_door.judge(request, method.encode("ascii"), _NO_WEBSOCKET)
        self._count(request)
        return request

    def _count(self, refusal: Refusal) -> None:
        with suppress(MisuseError):  # closed
            self._running().census.refused(refusal)

    # --- clients ---

    async def welcome(
        self, wire: Wire, request: Request | Refusal, *, role: str | None = None, peer: object = None
    ) -> None:
        """Serves one client to its end: what an adapter to another web server calls (see `Wire`). `peer` is the
        client's address, for limits that go by it."""
        outcome = admit(request, self._options, role=role) if isinstance(request, Request) else request
        if isinstance(outcome, Admission) and outcome.role:
            refusal = await self._serve(wire, outcome, peer)
            if refusal is None:
                return
            outcome = refusal
        elif isinstance(outcome, Refusal):
            self._count(outcome)
        with suppress(OSError):  # it left before it was answered
            if isinstance(outcome, Refusal):
                await wire.refuse(outcome)
            else:
                # A health check: a whole handshake, and nothing else.
                await wire.accept(outcome.subprotocol, ())
                await wire.close(closing.NORMAL, "")

    async def _serve(self, wire: Wire, admission: Admission, peer: object) -> Refusal | None:
        """Serves an admitted client; the refusal of one who is one too many, or comes to a hub that is closing."""
        try:
            term = self._open_term()
        except MisuseError:
            return _CLOSING
        gate = term.broker.gate
        address = address_of(peer) if gate.watches_addresses else None
        refusal = gate.enter(address)
        if refusal is not None:
            self._count(refusal)
            return refusal
        try:
            channel = self._channel(term, wire, admission, address)
            if isinstance(channel, Refusal):
                return channel
            await self._run(term, channel)
            return None
        finally:
            gate.leave(address)

    def _channel(self, term: Term, wire: Wire, admission: Admission, address: str | None) -> Channel | Refusal:
        try:
            desk = term.desk()
            if desk is None:
                return _CLOSING
            topic = term.broker.topic_for(admission.topic, address)
            if isinstance(topic, Refusal):
                self._count(topic)
                return topic
            return Channel(term.broker, desk, wire, admission, topic)
        except fastfan.MisuseError:
            return _CLOSING

    async def _run(self, term: Term, channel: Channel) -> None:
        term.channels.add(channel)
        try:
            term.begin_clock(channel.loop)
            await channel.run()
        finally:
            term.channels.discard(channel)


def _peer(scope: Scope) -> object:
    client = scope.get("client")
    return client[0] if client else None

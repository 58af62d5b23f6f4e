"""The server: an engine, a door, and the timer that beats for both.

One asyncio loop drives it. The engine's work is done in `_on_work`, whenever its descriptor says there is some; what
the engine reports goes to the sessions. No task runs: everything is a callback, and stops when the server is closed.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING

import fastfan
from pubsub import closing
from pubsub.addresses import ListenAddress, topic_path
from pubsub.arrival import Door
from pubsub.errors import ConfigError, MisuseError, Overloaded
from pubsub.eventstream import EventStream, EventStreams
from pubsub.handshake import Role
from pubsub.options import Options
from pubsub.reader import Reader, Readers
from pubsub.session import Sessions
from pubsub.stats import Stats

if TYPE_CHECKING:
    from pubsub.connection import Buffer

__all__ = ["Server", "serve"]

# Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
_BACKLOG = 4096
# Chunks and news dealt with before the loop looks at anything else, and how long the engine waits meanwhile, seconds.
_EVENTS_AT_ONCE = 64
_TURN_EVERY = 0.002
# Topics are forgotten at most so much later than they may be, as a share of topic_linger.
_SWEEP_SHARE = 1 / 16
_SWEEP_EVERY = 10.0
# After the last Close, clients have so long to take it before the server resets what is left.
_GRACE = 0.5


class Server:
    """A running server, made by `serve()`. Its methods belong to its event loop, except `publish`: any thread."""

    def __init__(self, options: Options, listeners: list[socket.socket]) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._engine = fastfan.Engine(
            io_threads=options.io_threads,
            max_memory_bytes=options.max_memory_bytes,
            write_timeout=options.subscriber_write_timeout,
            close_deadline=options.close_deadline,
            lane_bytes=options.max_message_bytes if options.lane else 0,
            message_timeout=options.message_timeout,
        )
        self._streams = EventStreams(options.event_buffer)
        self._readers = Readers(self._engine)
        self._sessions = Sessions(self._engine, options, self._streams, self._on_room)
        self._room = asyncio.Event()
        self._changed = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        address = listeners[0].getsockname()
        self._address = ListenAddress(address[0], address[1]) if isinstance(address, tuple) else ListenAddress("", 0)
        self._watched = [self._engine.events_fileno()]
        if not options.io_threads:
            self._watched.append(self._engine.work_fileno())
        for fileno in self._watched:
            self._loop.add_reader(fileno, self._on_work)
        self._door = Door(
            listeners,
            engine=self._engine,
            topic=self._topic,
            options=options,
            sessions=self._sessions,
            streams=self._streams,
        )
        self._beat_interval = _beat_interval(options)
        self._until_sweep = 0.0
        self._topics_swept = 0
        self._timer = self._loop.call_later(self._beat_interval, self._beat)

    @property
    def port(self) -> int:
        """The port it listens on; the kernel's choice when 0 was asked for."""
        return self._address.port

    @property
    def url(self) -> str:
        """Where a client on this machine connects; a topic's path goes behind it."""
        return self._address.url()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- publishing from this process ---

    def _topic(self, name: str) -> fastfan.Topic:
        topic = self._engine.find_topic(name)
        # Its terms are looked up when it is made: rules are matched one by one, and this is called for every message.
        if topic is None:
            topic = self._engine.topic(name, **self._options.lag_terms(name)._asdict())
        return topic

    def publish(self, topic: str, data: Buffer | str) -> int:
        """Publishes text for str, binary for anything with bytes; its offset. Any thread; `data` is free on return.

        Never blocks: with the memory limit reached it raises Overloaded and nothing is published; see `room`. Raises
        MisuseError for a topic that is no path, and after close().
        """
        try:
            return self._topic(topic_path(topic)).publish(data)
        except fastfan.Overloaded as error:
            raise Overloaded(str(error)) from None
        except fastfan.MisuseError as error:
            raise MisuseError(str(error)) from None

    async def room(self, topic: str) -> None:
        """Waits until publishing to the topic would be taken up: it is not paced, and memory is not short.

        Raises MisuseError for a topic that is no path, and when the server is closed.
        """
        path = topic_path(topic)
        try:
            state = self._topic(path)
            # Always once round the loop: who fills the memory without waiting anywhere keeps it from being emptied.
            await asyncio.sleep(0)
            while not self._engine.roomy or state.paced:
                self._room.clear()
                self._engine.want_room()
                await self._room.wait()
            self._topic(path)
        except fastfan.MisuseError as error:
            raise MisuseError(str(error)) from None

    def _on_room(self) -> None:
        self._room.set()

    def topic(self, topic: str) -> fastfan.Topic:
        """The engine's topic of that path, for who publishes much or from Cython: no lookup for each message.

        It raises what the engine raises (`fastfan.Overloaded`, `fastfan.EngineClosed`).
        """
        path = topic_path(topic)
        try:
            return self._topic(path)
        except fastfan.MisuseError as error:
            raise MisuseError(str(error)) from None

    # --- reading in this process ---

    def subscribe(self, topic: str) -> Reader:
        """What is published to the topic from now on: `async with server.subscribe("/a") as reader`, then `async for`.

        A subscriber without a connection: the lag rules of the options hold for it. Raises MisuseError for a topic that
        is no path, and after close().
        """
        path = topic_path(topic)
        try:
            return self._readers.open(self._topic(path))
        except fastfan.MisuseError as error:
            raise MisuseError(str(error)) from None

    # --- what it tells ---

    def events(self) -> EventStream:
        """A stream of what happens from now on; bounded by `event_buffer`. Dropped streams cost nothing."""
        return self._streams.open()

    def stats(self) -> Stats:
        engine = self._engine.stats()
        tally = self._sessions.tally
        return Stats(
            publishers=self._sessions.publishers,
            subscribers=self._sessions.subscribers,
            topics=engine["topics"],
            messages=tally.messages + engine["messages"],
            message_bytes=tally.message_bytes + engine["message_bytes"],
            ignored_messages=tally.ignored_messages + engine["ignored_messages"],
            received_bytes=engine["received_bytes"],
            sent_bytes=engine["sent_bytes"],
            memory_bytes=engine["memory_bytes"],
            max_memory_bytes=engine["max_memory_bytes"],
            held_publishers=engine["held_publishers"],
            skipped_messages=engine["skipped_messages"],
            skips=engine["skips"],
            events_dropped=self._streams.dropped,
            departures=dict(self._sessions.departures),
            refusals=dict(self._door.refusals),
        )

    # --- the engine's driver ---

    def _turn(self) -> None:
        if not self._options.io_threads:
            self._engine.turn()

    def _on_work(self) -> None:
        self._turn()
        events = self._engine.take_events(_EVENTS_AT_ONCE)
        if not events:
            return
        turned = self._loop.time()
        for event in events:
            self._handle(event)
            if self._loop.time() - turned > _TURN_EVERY:
                # A crowd of publishers must not hold up what is already published.
                self._turn()
                turned = self._loop.time()
        # What was published and answered goes out now, not after another round of the loop.
        self._turn()
        self._changed.set()

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
        self._sweep(step)

    def _sweep(self, step: float) -> None:
        # It looks at every topic, so not at every beat: when some may be due, or more than may linger have come.
        self._until_sweep -= step
        most = self._options.max_lingering_topics
        if self._until_sweep > 0 and self._engine.stats()["topics"] <= self._topics_swept + most:
            return
        swept = self._engine.sweep_topics(self._options.topic_linger, most)
        self._topics_swept = self._engine.stats()["topics"]
        self._until_sweep = 0.0 if swept else min(_SWEEP_EVERY, self._options.topic_linger * _SWEEP_SHARE)

    # --- the end ---

    async def close(self, *, drain: float = 0.0) -> None:
        """Stops accepting and closes everybody with 1012; returns when all is given back. Safe to call again.

        Within `drain` seconds publishers' last messages are taken and subscribers get what they are owed. What is left
        after that has half a second to take its Close, and is then reset.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(drain))
        await asyncio.shield(self._closing)

    async def _close(self, drain: float) -> None:
        self._door.stop_listening()
        ends = self._loop.time() + drain
        if drain > 0:
            # Publishers first, so that their last messages still reach everybody; those who do not answer get half.
            await self._send_off(Role.PUBLISHER, patience=drain / 2, after_log=True)
        patience = max(ends - self._loop.time(), 0.0) + _GRACE
        await self._send_off(Role.DUPLEX, patience=patience, after_log=drain > 0)
        if drain > 0:
            await self._readers.read_out(max(ends - self._loop.time(), 0.0))
        self._readers.close()
        self._timer.cancel()
        self._door.close()
        for fileno in self._watched:
            self._loop.remove_reader(fileno)
        self._engine.close()
        for event in self._engine.take_events(1 << 30):
            # The engine takes no more orders; who it reset is still to be told of.
            if event[0] == fastfan.EventKind.DEPARTED:
                self._handle(event)
        self._streams.close()
        self._room.set()

    async def _send_off(self, role: Role, *, patience: float, after_log: bool) -> None:
        """Closes everybody with any part of that role, and waits until they have gone, `patience` seconds at most."""
        row = closing.closing(closing.RESTART)
        for session in self._sessions.all():
            if role & session.role:
                self._sessions.close(session, row.code, row.reason, after_log=after_log, deadline=patience)
        try:
            async with asyncio.timeout(patience):
                while self._sessions.count(role):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return


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


class _Serving:
    """What `serve()` returns: awaited it gives the Server, with `async with` it is closed at the end."""

    def __init__(self, options: Options, listeners: list[socket.socket]) -> None:
        self._options = options
        self._listeners = listeners
        self._server: Server | None = None

    async def _start(self) -> Server:
        try:
            return Server(self._options, self._listeners)
        except BaseException as error:
            for listener in self._listeners:
                listener.close()
            if isinstance(error, OSError):
                raise ConfigError(f"cannot start: {error.strerror}; raise the limit of open files") from error
            raise

    def __await__(self) -> Generator[None, None, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        self._server = await self._start()
        return self._server

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
) -> _Serving:
    """Starts a server: `async with serve(...) as server`, or `server = await serve(...)`.

    An empty host means all interfaces, port 0 any free one. `sock` is a listening socket to use instead; the server
    owns it from then on. The sockets listen when this returns. Raises ConfigError when the address cannot be had, and
    MisuseError for a `sock` that does not listen.
    """
    if sock is not None and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise MisuseError(f"socket {sock.fileno()} does not listen; call its listen() first")
    listeners = [sock] if sock is not None else _listen(host, port)
    for listener in listeners:
        listener.setblocking(False)
    return _Serving(options or Options(), listeners)


def _listen(host: str, port: int) -> list[socket.socket]:
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} is not from 0 to 65535; give one of those, 0 for any free one")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as error:
        place = ListenAddress(host, port)
        raise ConfigError(f"cannot listen on {place}: {error}; give HOST:PORT of this machine") from None
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    for family, _kind, _protocol, _name, address in dict.fromkeys(found):
        # The first one's port holds for all, so that port 0 is one port on every address.
        wanted = (address[0], listeners[0].getsockname()[1] if listeners else port, *address[2:])
        try:
            listeners.append(_listen_on(socket.AddressFamily(family), wanted))
        except OSError as error:
            if not host and error.errno == errno.EAFNOSUPPORT:
                # All interfaces, on a system without IPv6: the other family will do.
                missing = error
                continue
            for listener in listeners:
                listener.close()
            raise ConfigError(f"cannot listen on {ListenAddress(host, port)}: {_why(error)}") from None
    if missing is not None and not listeners:
        raise ConfigError(f"cannot listen on {ListenAddress(host, port)}: {_why(missing)}")
    return listeners


def _why(error: OSError) -> str:
    cures = {
        errno.EADDRINUSE: "stop what uses the port, or choose another one",
        errno.EACCES: "choose a port from 1024 on, or run it with the right to lower ones",
    }
    return f"{error.strerror}; {cures.get(error.errno or 0, 'choose an address of this machine')}"


def _listen_on(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else the v6 wildcard takes the v4 one's port as well.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener

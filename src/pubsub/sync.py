"""The clients for programs without asyncio.

    with Publisher("ws://127.0.0.1:8080/prices") as publisher:
        publisher.publish(b"42")

    with Subscriber("ws://127.0.0.1:8080/prices") as subscriber:
        for message in subscriber:
            ...

    threads of the program ── calls ──► a thread of our own: an event loop, and the asyncio client in it

That thread answers the server's pings while the program is busy elsewhere; it lives from `open` to `close`. Any thread
may call. Ctrl-C ends the call that waits and leaves the connection as it is. Arguments, errors and limits are those of
`pubsub.Publisher` and `pubsub.Subscriber`. A Subscriber's `on_gap` is called by the thread that iterates; `on_away` and
a Publisher's `on_gap` by that of the loop, which must not be kept waiting: there no method of the client may be called.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload
from weakref import WeakSet

from pubsub import publisher, subscriber
from pubsub.client import Arguments, Client
from pubsub.connection import Buffer
from pubsub.errors import ConnectFailed, MisuseError, PubSubError
from pubsub.gap import Gap

__all__ = ["Publisher", "Subscriber"]

ResultT = TypeVar("ResultT")
ClientT = TypeVar("ClientT", bound=Client)
MessageT_co = TypeVar("MessageT_co", bytes, bytes | str, covariant=True)
Method = Callable[[], Coroutine[Any, Any, ResultT]]


class _LoopThread:
    """An event loop in a thread of its own, until `stop`. Raises OSError where there are no descriptors for it."""

    def __init__(self) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon: a program that forgets to close must still be able to end.
        self._thread = threading.Thread(target=_run_loop, args=(started,), name="pubsub.sync", daemon=True)
        # What was asked for before the loop was told to stop runs, or is cancelled; what comes later nobody would run.
        self._lock = threading.Lock()
        self._stopping = False
        self._thread.start()
        self._loop, self._stopped = started.result()

    def call(self, method: Method[ResultT]) -> ResultT:
        """The result of `method`, run in the loop. Whatever ends the waiting, Ctrl-C too, cancels it.

        Where the loop has ended it is run without one: a client that has ended has nothing to wait for.
        """
        self.refuse_own()
        with self._lock:
            future = None if self._stopping else asyncio.run_coroutine_threadsafe(method(), self._loop)
        if future is not None:
            try:
                return future.result()
            except CancelledError:
                # By its loop, which has ended under it.
                if not self._stopping:
                    raise
            except BaseException:
                future.cancel()
                raise
        self._thread.join()
        with self._lock:
            return _at_once(method)

    def refuse_own(self) -> None:
        """Raises MisuseError in this thread itself, where a callback runs."""
        if threading.current_thread() is self._thread:
            raise MisuseError("a callback of this client cannot call it: it would wait for itself; use another thread")

    @property
    def stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Returns when it has ended, whoever stops it."""
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()


def _run_loop(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    try:
        with asyncio.Runner() as runner:
            # Made first, so that no coroutine is left without one.
            runner.get_loop()
            runner.run(_wait_stop(started))
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


async def _wait_stop(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stopped = asyncio.Event()
    started.set_result((asyncio.get_running_loop(), stopped))
    await stopped.wait()


def _at_once(method: Method[ResultT]) -> ResultT:
    """The result of a method that waits for nothing."""
    coroutine = method()
    try:
        coroutine.send(None)
    except StopIteration as result:
        value: ResultT = result.value
        return value
    coroutine.close()
    raise RuntimeError("a client that has ended waited for something")


class _Face(Generic[ClientT]):
    """What both clients share: an asyncio client, and the thread it runs in from `open` on."""

    def __init__(self, client: ClientT) -> None:
        self._client = client
        self._thread: _LoopThread | None = None
        self._closed = False  # close() was called, which tells those who never had a thread
        self._lock = threading.Lock()
        self._is_parents = False
        _faces.add(self)

    def _begin_anew(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()
        self._is_parents = self._thread is not None

    @property
    def url(self) -> str:
        """Where it connects."""
        return self._client.url

    @property
    def client_id(self) -> str:
        """The id the server gave; with `reconnect` the latest."""
        return self._client.client_id

    @property
    def error(self) -> PubSubError | None:
        """Why it ended; None while it has not (while it is coming back, too), and when `close` ended it and the server
        agreed."""
        return self._client.error

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Connects and upgrades, once."""
        self._refuse_parents()
        with self._lock:
            if self._thread is None:
                self._thread = self._start()
            elif not self._thread.stopping:
                raise MisuseError("this client is open already; make a new one for a new connection")
        try:
            self._call(self._client.open)
        except BaseException:
            self._stop()
            raise
        return self

    def _start(self) -> _LoopThread:
        try:
            return _LoopThread()
        except OSError as error:
            raise ConnectFailed(f"cannot connect to {self.url}: {error}; it needs an event loop") from error

    def close(self) -> None:
        """Sends what was published, closes, and ends the thread. What goes wrong meanwhile is in `error`."""
        if self._is_parents:
            return
        with self._lock:
            self._closed = True
        try:
            self._call(self._client.close)
        except MisuseError:
            # Another thread is opening it, which goes on; or a callback called.
            raise
        except BaseException:
            self._stop()
            raise
        self._stop()

    def wait_closed(self) -> None:
        """Returns when it has ended for good, whoever ended it; `error` says why."""
        self._call(self._client.wait_closed)

    def _call(self, method: Method[ResultT]) -> ResultT:
        self._refuse_parents()
        if self._thread is not None:
            return self._thread.call(method)
        with self._lock:
            if not self._closed:
                raise MisuseError("this client is not open; use it in a `with` statement, or call open() first")
            return _at_once(method)

    def _refuse_parents(self) -> None:
        if self._is_parents:
            raise MisuseError("this client was opened before the process forked, and is its parent's; make a new one")

    def _stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()


_faces: WeakSet[_Face[Any]] = WeakSet()


def _begin_anew() -> None:
    """After a fork the threads are the parent's, and with them the clients that are open."""
    for face in list(_faces):
        face._begin_anew()


if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(after_in_child=_begin_anew)


class Publisher(_Face[publisher.Publisher]):
    """`pubsub.Publisher` for programs without asyncio."""

    def __init__(self, url: str | None = None, **arguments: Unpack[Arguments]) -> None:
        super().__init__(publisher.Publisher(url, **arguments))

    @property
    def unconfirmed(self) -> int:
        """How many messages were published on this connection and are not known to be in the server's log."""
        return self._client.unconfirmed

    def publish(self, data: Buffer | str) -> None:
        """Sends one message; waits while the server does not keep up, and while the client is away."""
        self._call(partial(self._client.publish, data))

    def flush(self) -> None:
        """Returns when everything published so far is in the server's log."""
        self._call(self._client.flush)


class Subscriber(_Face[subscriber.Subscriber[MessageT_co]], Generic[MessageT_co]):
    """`pubsub.Subscriber` for programs without asyncio: an iterator of messages."""

    @overload
    def __init__(
        self: Subscriber[bytes],
        url: str | None = None,
        *,
        text: Literal[False] = False,
        buffer_bytes: int = ...,
        **arguments: Unpack[Arguments],
    ) -> None: ...

    @overload
    def __init__(
        self: Subscriber[bytes | str],
        url: str | None = None,
        *,
        text: bool,
        buffer_bytes: int = ...,
        **arguments: Unpack[Arguments],
    ) -> None: ...

    def __init__(
        self, url: str | None = None, *, text: bool = False, buffer_bytes: int = 1 << 20, **arguments: Unpack[Arguments]
    ) -> None:
        client: subscriber.Subscriber[Any] = subscriber.Subscriber(
            url, text=text, buffer_bytes=buffer_bytes, **arguments
        )
        super().__init__(client)
        # Taken from the client, not yet from us: a thread is asked once for many messages.
        self._taken: deque[MessageT_co | Gap] = deque()

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._taken.clear()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MessageT_co:
        while True:
            try:
                item = self._taken.popleft()
            except IndexError:
                if not self._call(self._take):
                    raise StopIteration from None
            else:
                if not isinstance(item, Gap):
                    return item
                self._client.tell_gap(item)

    async def _take(self) -> bool:
        # Kept by the loop's thread, so that none is lost when the caller is interrupted while it waits for the answer.
        taken = await self._client.take_items()
        if isinstance(taken, Gap):
            self._taken.append(taken)
            return True
        self._taken.extend(taken)
        return bool(taken)

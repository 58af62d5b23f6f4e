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
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload

from pubsub import publisher, subscriber
from pubsub.client import Arguments, Client
from pubsub.connection import Buffer
from pubsub.errors import MisuseError, PubSubError
from pubsub.gap import Gap

__all__ = ["Publisher", "Subscriber"]

ResultT = TypeVar("ResultT")
ClientT = TypeVar("ClientT", bound=Client)
MessageT_co = TypeVar("MessageT_co", bytes, bytes | str, covariant=True)


class _LoopThread:
    """An event loop in a thread of its own, until `stop`."""

    def __init__(self) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon: a program that forgets to close must still be able to end.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(_wait_stop(started)), name="pubsub.sync", daemon=True
        )
        self._thread.start()
        self._loop, self._stopped = started.result()

    def call(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """The result of `coroutine`, run in the loop. Whatever ends the waiting, Ctrl-C too, cancels it."""
        try:
            self.refuse_own()
        except MisuseError:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def refuse_own(self) -> None:
        """Raises MisuseError in this thread itself, where a callback runs."""
        if threading.current_thread() is self._thread:
            raise MisuseError("a callback of this client cannot call it: it would wait for itself; use another thread")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()


async def _wait_stop(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stopped = asyncio.Event()
    started.set_result((asyncio.get_running_loop(), stopped))
    await stopped.wait()


class _Face(Generic[ClientT]):
    """What both clients share: an asyncio client, and the thread it runs in while it is open."""

    def __init__(self, client: ClientT) -> None:
        self._client = client
        self._thread: _LoopThread | None = None
        self._lock = threading.Lock()

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
        with self._lock:
            if self._thread is not None:
                raise MisuseError("this client is open already; make a new one for a new connection")
            self._thread = _LoopThread()
        try:
            self._call(self._client.open())
        except BaseException:
            self._stop()
            raise
        return self

    def close(self) -> None:
        """Sends what was published, closes, and ends the thread. What goes wrong meanwhile is in `error`."""
        if self._thread is not None:
            self._thread.refuse_own()
        try:
            if self._thread is not None:
                self._call(self._client.close())
        finally:
            self._stop()

    def wait_closed(self) -> None:
        """Returns when it has ended for good, whoever ended it; `error` says why."""
        if self._thread is not None:
            self._call(self._client.wait_closed())

    def _call(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        thread = self._thread
        if thread is None:
            coroutine.close()
            raise MisuseError("this client is not open; use it in a `with` statement, or call open() first")
        return thread.call(coroutine)

    def _stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


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
        self._call(self._client.publish(data))

    def flush(self) -> None:
        """Returns when everything published so far is in the server's log."""
        self._call(self._client.flush())


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

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MessageT_co:
        while True:
            try:
                item = self._taken.popleft()
            except IndexError:
                if self._thread is None or not self._call(self._take()):
                    raise StopIteration from None
            else:
                if not isinstance(item, Gap):
                    return item
                self._client._teller.tell_gap(item)

    async def _take(self) -> bool:
        # Kept by the loop's thread, so that none is lost when the caller is interrupted while it waits for the answer.
        taken = await self._client._take_items()
        if isinstance(taken, Gap):
            self._taken.append(taken)
            return True
        self._taken.extend(taken)
        return bool(taken)

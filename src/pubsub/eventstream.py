"""Events, for those who want to read them: bounded, so that a slow reader never holds up the server.

They are put in whatever event loop a client is served in, and read in any other.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from weakref import WeakSet

from pubsub.events import Event

__all__ = ["EventStream", "EventStreams"]


class EventStream(AsyncIterator[Event]):
    """`async for event in stream`. Ends when the server is closed, or by close().

    Holds at most `event_buffer` events that were not read; beyond that the newest is dropped and counted in `dropped`.
    """

    def __init__(self, limit: int) -> None:
        self._events: deque[Event] = deque()
        self._limit = limit
        self._closed = False
        self._readers: list[asyncio.Future[None]] = []
        self._lock = threading.Lock()  # over all of it
        self.dropped = 0

    def close(self) -> None:
        """No more events; those that wait can still be read. Any thread."""
        with self._lock:
            self._closed = True
            self._wake()

    def _put(self, event: Event) -> bool:
        """Whether it found room."""
        with self._lock:
            if self._closed:
                return True
            if len(self._events) >= self._limit:
                self.dropped += 1
                return False
            self._events.append(event)
            self._wake()
        return True

    def _wake(self) -> None:
        # Every task that reads: each looks for itself whether something is left for it.
        for reader in self._readers:
            with suppress(RuntimeError):  # its loop has ended
                reader.get_loop().call_soon_threadsafe(_resolve, reader)
        self._readers.clear()

    async def __anext__(self) -> Event:
        while True:
            with self._lock:
                if self._events:
                    return self._events.popleft()
                if self._closed:
                    raise StopAsyncIteration
                reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._readers.append(reader)
            try:
                await reader
            finally:
                with self._lock:
                    if reader in self._readers:
                        self._readers.remove(reader)


def _resolve(reader: asyncio.Future[None]) -> None:
    if not reader.done():
        reader.set_result(None)


class EventStreams:
    """The server's side: everything put goes to every stream that somebody still holds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: WeakSet[EventStream] = WeakSet()
        self._lock = threading.Lock()  # over all of it
        self._closed = False
        self.dropped = 0

    def open(self) -> EventStream:
        stream = EventStream(self._limit)
        with self._lock:
            if self._closed:
                stream.close()
            self._streams.add(stream)
        return stream

    def put(self, event: Event) -> None:
        with self._lock:
            for stream in self._streams:
                self.dropped += not stream._put(event)

    @property
    def wanted(self) -> bool:
        """Whether anybody reads: else an event need not be made."""
        return len(self._streams) > 0

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for stream in self._streams:
                stream.close()

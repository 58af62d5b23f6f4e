"""Readers: what is published to a topic, for the program that the server is in.

    log ──► the engine's cursor ──► Reader ──► async for

A reader is a subscriber without a connection: a place in the log, with the same lag rules. No task runs for it. The
engine tells that there is something to read; the next turn of `async for` takes a batch, and gives it out one by one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import fastfan
from pubsub.errors import MisuseError, TooFarBehind

__all__ = ["Reader", "Readers"]

# Copied out of the log at a time, whatever is waiting: it counts neither as memory of the engine's nor as lag.
_BATCH_MESSAGES = 256
_BATCH_BYTES = 65536
# Readers told between two looks of the loop at anything else.
_TOLD_AT_ONCE = 256


class Reader(AsyncIterator[bytes | str]):
    """`async for message in reader`: bytes for binary, str for text, from `server.subscribe()` on.

    Ends when the server is closed, or by close(). Raises TooFarBehind where it falls behind over a bound of the
    server's options, as a subscriber would be disconnected: what it had not got is lost to it, and it has ended.
    One reader for each consumer; several tasks that share one share its messages.
    """

    def __init__(self, cursor: fastfan.Reader, ended: asyncio.Event) -> None:
        self._cursor = cursor
        self._ended = ended
        self._messages: deque[tuple[int, bytes | str]] = deque()
        self._told = asyncio.Event()
        self._ending = False
        self._closed = False

    @property
    def offset(self) -> int:
        """The offset of the next message."""
        return self._messages[0][0] if self._messages else self._cursor.offset

    @property
    def lag_bytes(self) -> int:
        """Bytes between its place in the log and the log's end."""
        return self._cursor.lag_bytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the log. Whoever iterates gets what was taken already, then the end."""
        self._closed = True
        self._cursor.close()
        self._told.set()
        self._ended.set()

    def _end(self) -> None:
        """Nothing more will come: closes it as soon as everything was read."""
        self._ending = True
        self._told.set()

    def _tell(self) -> None:
        self._told.set()

    async def __anext__(self) -> bytes | str:
        while not self._messages:
            if self._closed:
                raise StopAsyncIteration
            self._told.clear()
            if self._fill():
                # Once round the loop for each batch: who takes messages without waiting must not stop everything else.
                await asyncio.sleep(0)
            elif self._ending:
                self.close()
            else:
                await self._told.wait()
        return self._messages.popleft()[1]

    def _fill(self) -> bool:
        try:
            self._messages.extend(self._cursor.read(_BATCH_MESSAGES, max_bytes=_BATCH_BYTES))
        except fastfan.TooFarBehind as error:
            self.close()
            raise TooFarBehind(str(error)) from None
        except fastfan.MisuseError as error:
            raise MisuseError(str(error)) from None
        return bool(self._messages)


class Readers:
    """The server's side: those that somebody still holds, by the token that events name them by."""

    def __init__(self, engine: fastfan.Engine) -> None:
        self._ready = fastfan.ReadyQueue(engine)
        self._readers: WeakValueDictionary[int, Reader] = WeakValueDictionary()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fileno = self._ready.fileno()
        self._loop.add_reader(self._fileno, self._on_ready)

    def open(self, topic: fastfan.Topic) -> Reader:
        cursor = topic.reader(ready=self._ready)
        reader = self._readers[cursor.token] = Reader(cursor, self._ended)
        return reader

    def _on_ready(self) -> None:
        for token in self._ready.take(_TOLD_AT_ONCE):
            reader = self._readers.get(token)
            if reader is not None:
                reader._tell()

    async def read_out(self, patience: float) -> None:
        """Nothing more is published: waits until they have read all there is, so many seconds at most."""
        for reader in list(self._readers.values()):
            reader._end()
        try:
            async with asyncio.timeout(patience):
                while not all(reader._closed for reader in self._readers.values()):
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        for reader in list(self._readers.values()):
            reader.close()
        self._loop.remove_reader(self._fileno)
        self._ready.close()

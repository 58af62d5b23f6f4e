"""Readers: what is published to a topic, for the program that the server is in.

    log ──► the engine's cursor ──► Reader ──► async for

A reader is a subscriber without a connection: a place in the log, with the same lag rules. No task runs for it. Its
desk tells that there is something to read; the next turn of `async for` takes a batch, and gives it out one by one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import fastfan
from pubsub.desk import Desk
from pubsub.errors import MisuseError, TooFarBehind

__all__ = ["Reader"]

# Copied out of the log at a time, whatever is waiting: it counts neither as memory of the engine's nor as lag.
_BATCH_MESSAGES = 256
_BATCH_BYTES = 65536


class Reader(AsyncIterator[bytes | str]):
    """`async for message in reader`: bytes for binary, str for text, from `server.subscribe()` on.

    Ends when the server is closed, or by close(). Raises TooFarBehind where it falls behind over a bound of the
    server's options, as a subscriber would be disconnected: what it had not got is lost to it, and it has ended.
    One reader for each consumer; several tasks that share one share its messages.
    """

    def __init__(self, desk: Desk, topic: fastfan.Topic) -> None:
        self._desk = desk
        self._cursor = desk.open(topic, self)
        # What is taken out of the log cannot be skipped any more.
        self._batch_messages = 1 if topic.policy == "latest" else _BATCH_MESSAGES
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
        self._desk.note_closed()

    @property
    def closed(self) -> bool:
        """Whether it has let go of the log."""
        return self._closed

    def end(self) -> None:
        """Nothing more is wanted: closes it as soon as everything was read that is there by then."""
        self._ending = True
        self._told.set()

    def tell(self) -> None:
        """For its desk."""
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
            self._messages.extend(self._cursor.read(self._batch_messages, max_bytes=_BATCH_BYTES))
        except fastfan.TooFarBehind as error:
            self.close()
            raise TooFarBehind(str(error)) from None
        except fastfan.MisuseError as error:
            raise MisuseError(str(error)) from None
        return bool(self._messages)

"""The subscribing client.

    async with Subscriber("ws://127.0.0.1:8080/prices") as subscriber:
        async for message in subscriber:
            ...
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack, cast, overload

from pubsub.client import Arguments, Client, State
from pubsub.closing import NORMAL, UNSUPPORTED
from pubsub.connection import Piece
from pubsub.errors import ClosedBy, ConnectionClosed, MisuseError, UnhandledMessageType, shown
from pubsub.gap import Gap, missed_between
from pubsub.link import Link

__all__ = ["Subscriber"]

MessageT_co = TypeVar("MessageT_co", bytes, bytes | str, covariant=True)

# What CPython needs for a small bytes object and its place in the queue: a flood of empty messages has a size too.
_OVERHEAD_BYTES = 64
_ENDING = (State.CLOSING, State.CLOSED)


class Subscriber(Client, Generic[MessageT_co]):
    """Receives what is published to the topic that its URL names, as an asynchronous iterator.

    Arguments are Publisher's, and:
      text          False: a text message ends the connection with UnhandledMessageType, as in the Go program's client.
                    True: text messages come as str, binary ones as bytes.
      buffer_bytes  how much is read ahead of the iteration. A subscriber that is not iterated stops reading then, and
                    the server sees it lag. A single message may be larger.

    The iteration ends when this side closed, and when the server closed with 1000 (it is done). It raises
    ConnectionClosed when the server closed with any other code, or when the connection was lost; `come_back` says
    whether to connect again. What arrived before is iterated first, in any case. While its buffer is full it reads
    nothing, so it notices an end only when it is iterated again.

    One that comes back (`reconnect`, as Publisher's) goes on iterating instead. The iteration calls its `on_gap`, in
    order with the messages: after all that came before the gap, and before all that came after. What it raises, the
    iteration raises.
    """

    _role: ClassVar[str] = "subscriber"

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
        self,
        url: str | None = None,
        *,
        text: bool = False,
        buffer_bytes: int = 1 << 20,
        **arguments: Unpack[Arguments],
    ) -> None:
        super().__init__(url, **arguments)
        if isinstance(buffer_bytes, bool) or not isinstance(buffer_bytes, int) or buffer_bytes < 1:
            raise MisuseError(f"buffer_bytes={shown(buffer_bytes)} is no number from 1; give one such as 1048576")
        self._text = text
        self._buffer_bytes = buffer_bytes
        self._buffered_bytes = 0
        self._items: deque[bytes | str | Gap] = deque()
        self._received = 0  # whole messages of this connection
        self._pieces: list[bytes | str] = []
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()

    # --- reading ---

    def _on_piece(self, piece: Piece) -> None:
        if self._state is not State.OPEN:
            return
        data, last = piece.data, piece.last
        if not self._text and isinstance(data, str):
            error = UnhandledMessageType(f"text message {shown(data)} came; only binary is taken without text=True")
            self._fail(error)
            self._start_closing(UNSUPPORTED, "only binary messages are taken")
        elif not last:
            self._pieces.append(data)
        elif self._pieces:
            self._pieces.append(data)
            self._keep(_joined(self._pieces))
            self._pieces.clear()
        else:
            self._keep(data)

    def _keep(self, message: bytes | str) -> None:
        self._received += 1
        self._put(message, len(message))

    def _put(self, item: bytes | str | Gap, size: int) -> None:
        self._items.append(item)
        self._buffered_bytes += size + _OVERHEAD_BYTES
        self._news.set()
        if self._buffered_bytes >= self._buffer_bytes:
            self._wanted.clear()

    async def _wait_wanted(self) -> None:
        await self._wanted.wait()

    def _on_back(self, before: Link, seconds: float) -> None:
        assert before.error is not None
        missed = missed_between(before.place, self._received, self._link.place)
        self._received = 0
        self._put(Gap(before.error, seconds, missed=missed), 0)

    def _move_to(self, state: State) -> None:
        super()._move_to(state)
        if state is State.AWAY:
            # The rest of a message that broke off never comes.
            self._pieces.clear()
        if state in _ENDING:
            # Nothing more is kept, so all that still comes may be read; and who waits for a message must know.
            self._wanted.set()
            self._news.set()

    # --- iterating ---

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageT_co:
        while self._items or await self._wait_item():
            item = self._items.popleft()
            if not isinstance(item, Gap):
                self._give_room(len(item))
                return item  # type: ignore[return-value]
            self._give_room(0)
            self.tell_gap(item)
        raise StopAsyncIteration

    def tell_gap(self, gap: Gap) -> None:
        """Calls `on_gap`, or logs a line without it."""
        self._teller.tell_gap(gap)

    def _give_room(self, size: int, items: int = 1) -> None:
        self._buffered_bytes -= size + items * _OVERHEAD_BYTES
        if self._buffered_bytes < self._buffer_bytes:
            self._wanted.set()

    async def take_messages(self) -> list[MessageT_co]:
        """All messages that are here, after waiting for one; an empty list when the iteration would end.

        Those of before a gap and those of after it come in two calls; the second calls `on_gap` first.
        """
        while isinstance(taken := await self.take_items(), Gap):
            self.tell_gap(taken)
        return taken

    async def take_items(self) -> list[MessageT_co] | Gap:
        """For `pubsub.sync`: a gap, or all messages up to the next one; nothing when the iteration would end.

        The gap is the caller's to tell of, with `tell_gap` and in whatever thread.
        """
        if not await self._wait_item():
            return []
        if isinstance(self._items[0], Gap):
            self._give_room(0)
            return cast(Gap, self._items.popleft())
        # The first gap is where to stop; most often there is none.
        taken: list[Any] = list(itertools.takewhile(_is_message, self._items))
        if len(taken) == len(self._items):
            self._items.clear()
        else:
            for _ in taken:
                self._items.popleft()
        self._give_room(sum(map(len, taken)), len(taken))
        return taken

    async def _wait_item(self) -> bool:
        """True when there is a message or a gap, False when there will be none; raises what `_refusal` gives."""
        while not self._items:
            if self._state not in (State.OPEN, State.AWAY):
                if self._state in _ENDING and self._is_done():
                    return False
                raise self._refusal()
            self._news.clear()
            await self._news.wait()
        return True

    def _is_done(self) -> bool:
        error = self._error
        if isinstance(error, ConnectionClosed):
            # By us: it was closed while it was away.
            return error.code == NORMAL or error.by is ClosedBy.US
        return error is None


def _is_message(item: bytes | str | Gap) -> bool:
    return not isinstance(item, Gap)


def _joined(pieces: list[bytes | str]) -> bytes | str:
    if isinstance(pieces[0], str):
        return "".join(cast("list[str]", pieces))
    return b"".join(cast("list[bytes]", pieces))

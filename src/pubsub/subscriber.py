"""The subscribing client.

    async with Subscriber("ws://127.0.0.1:8080/prices") as subscriber:
        async for message in subscriber:
            ...
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import ClassVar, Generic, Literal, Self, TypeVar, Unpack, cast, overload

from pubsub.client import Arguments, Client, State
from pubsub.closing import NORMAL, UNSUPPORTED
from pubsub.connection import Piece
from pubsub.errors import ClosedBy, ConnectionClosed, MisuseError, UnhandledMessageType, shown

__all__ = ["Subscriber"]

MessageT_co = TypeVar("MessageT_co", bytes, bytes | str, covariant=True)

# What CPython needs for a small bytes object and its place in the queue: a flood of empty messages has a size too.
_OVERHEAD_BYTES = 64


class Subscriber(Client, Generic[MessageT_co]):
    """Receives what is published to the topic that its URL names, as an asynchronous iterator.

    Arguments are Publisher's, and:
      text          False: a text message ends the connection with UnhandledMessageType, as in the Go program's client.
                    True: text messages come as str, binary ones as bytes.
      buffer_bytes  how much is read ahead of the iteration. A subscriber that is not iterated stops reading then, and the
                    server sees it lag. A single message may be larger.

    The iteration ends when this side closed, and when the server closed with 1000 (it is done). It raises ConnectionClosed
    when the server closed with any other code, `come_back` then says whether to connect again, or when the connection was
    lost. What arrived before is iterated first, in any case.
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
            raise MisuseError(f"buffer_bytes={shown(buffer_bytes)} is no number of bytes from 1; give one such as 1048576")
        self._text = text
        self._buffer_bytes = buffer_bytes
        self._buffered_bytes = 0
        self._messages: deque[bytes | str] = deque()
        self._pieces: list[bytes | str] = []
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()

    # --- reading ---

    def _on_piece(self, piece: Piece) -> None:
        data, last = piece
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
        self._messages.append(message)
        self._buffered_bytes += len(message) + _OVERHEAD_BYTES
        self._news.set()
        if self._buffered_bytes >= self._buffer_bytes:
            self._wanted.clear()

    async def _wait_wanted(self) -> None:
        await self._wanted.wait()

    def _move_to(self, state: State) -> None:
        super()._move_to(state)
        if state in (State.CLOSING, State.CLOSED):
            # Nothing more is kept, so everything that still comes may be read, and whoever waits for a message must know.
            self._wanted.set()
            self._news.set()

    # --- iterating ---

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageT_co:
        while not self._messages:
            self._check_more_may_come()
            self._news.clear()
            await self._news.wait()
        return self._take_message()  # type: ignore[return-value]

    def _take_message(self) -> bytes | str:
        message = self._messages.popleft()
        self._buffered_bytes -= len(message) + _OVERHEAD_BYTES
        if self._buffered_bytes < self._buffer_bytes:
            self._wanted.set()
        return message

    def _check_more_may_come(self) -> None:
        if self._state is State.OPEN:
            return
        if self._state in (State.NEW, State.OPENING):
            self._refuse()
        done = self._error is None or (isinstance(self._error, ConnectionClosed) and _is_done(self._error))
        if done:
            raise StopAsyncIteration
        self._refuse()


def _is_done(closed: ConnectionClosed) -> bool:
    return closed.by is ClosedBy.PEER and closed.code == NORMAL


def _joined(pieces: list[bytes | str]) -> bytes | str:
    if isinstance(pieces[0], str):
        return "".join(cast("list[str]", pieces))
    return b"".join(cast("list[bytes]", pieces))

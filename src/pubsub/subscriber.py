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
from pubsub.errors import ConnectionClosed, MisuseError, UnhandledMessageType, shown

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
        if state in _ENDING:
            # Nothing more is kept, so all that still comes may be read; and who waits for a message must know.
            self._wanted.set()
            self._news.set()

    # --- iterating ---

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageT_co:
        if not self._messages and not await self._wait_message():
            raise StopAsyncIteration
        message = self._messages.popleft()
        self._buffered_bytes -= len(message) + _OVERHEAD_BYTES
        if self._buffered_bytes < self._buffer_bytes:
            self._wanted.set()
        return message  # type: ignore[return-value]

    async def take_messages(self) -> list[MessageT_co]:
        """All messages that are here, after waiting for one; an empty list when the iteration would end."""
        await self._wait_message()
        messages = list(self._messages)
        self._messages.clear()
        self._buffered_bytes = 0
        self._wanted.set()
        return messages  # type: ignore[return-value]

    async def _wait_message(self) -> bool:
        """True when there is a message, False when there will be none; raises what `_refuse` raises."""
        while not self._messages:
            if self._state is not State.OPEN:
                if self._state in _ENDING and self._is_done():
                    return False
                self._refuse()
            self._news.clear()
            await self._news.wait()
        return True

    def _is_done(self) -> bool:
        error = self._error
        return error is None or (isinstance(error, ConnectionClosed) and error.code == NORMAL)


def _joined(pieces: list[bytes | str]) -> bytes | str:
    if isinstance(pieces[0], str):
        return "".join(cast("list[str]", pieces))
    return b"".join(cast("list[bytes]", pieces))

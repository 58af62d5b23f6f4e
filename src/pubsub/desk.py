"""A desk: what one event loop does for all readers in it, and for all who wait there for room to publish.

    log ──► a reader's cursor ──► ready queue ──► _on_ready ──► told.tell(), in this loop

One descriptor and one timer, however many there are; no task runs. A Server has one desk, a Hub one for each event loop
that its clients are served in.
"""

import asyncio
import weakref
from typing import NamedTuple, Protocol
from weakref import WeakSet

import fastfan
from pubsub.rates import Pauses

__all__ = ["Desk", "Told", "is_paced"]

# Readers told between two looks of the loop at anything else.
_TOLD_AT_ONCE = 256
# The engine tells of room where somebody takes its events, which a Hub alone does not; so who waits also looks by
# himself. In this time a kernel's socket buffers do not run empty.
_LOOK_EVERY = 0.01


class Told(Protocol):
    """Who reads by a cursor of the desk's."""

    def tell(self) -> None:
        """There is something to read, or the cursor has ended."""

    def end(self) -> None:
        """Nothing more will be published: it is to close when it has read everything."""

    def close(self) -> None:
        """It is to let go of the log."""

    @property
    def closed(self) -> bool: ...


def is_paced(topic: fastfan.Topic, cursor: fastfan.Reader | None) -> bool:
    """Whether a publisher has to wait; nobody waits for his own cursor."""
    return topic.paced if cursor is None else cursor.paced_for_others


class _Waiting(NamedTuple):
    """Somebody who waits for room."""

    told: asyncio.Future[None]
    topic: fastfan.Topic
    cursor: fastfan.Reader | None

    def goes_on(self, *, roomy: bool, closing: bool = False) -> bool:
        """Whether it waits no more: it has room, or has given up."""
        if self.told.done():
            return True
        if not closing and (not roomy or is_paced(self.topic, self.cursor)):
            return False
        self.told.set_result(None)
        return True


class Desk:
    """Belongs to the event loop that it is made in; so do its methods."""

    def __init__(self, engine: fastfan.Engine) -> None:
        self._engine = engine
        self.loop = asyncio.get_running_loop()
        self.pauses = Pauses()  # of that loop; whoever has a timer beats
        self._queue = fastfan.ReadyQueue(engine)
        # A plain dictionary of references, because a WeakValueDictionary's get() is the dearest step of being told.
        self._told: dict[int, weakref.ref[Told]] = {}
        self._readers: WeakSet[Told] = WeakSet()
        self._ended = asyncio.Event()
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._fileno = self._queue.fileno()
        self.loop.add_reader(self._fileno, self._on_ready)

    # --- readers ---

    def open(self, topic: fastfan.Topic, reader: Told) -> fastfan.Reader:
        """A cursor at the log's end, by which `reader` reads; somebody else has to hold that."""
        cursor = topic.reader(ready=self._queue)
        token = cursor.token
        self._told[token] = weakref.ref(reader, lambda _: self._told.pop(token, None))
        self._readers.add(reader)
        return cursor

    def _on_ready(self) -> None:
        for token in self._queue.take(_TOLD_AT_ONCE):
            reference = self._told.get(token)
            reader = None if reference is None else reference()
            if reader is not None:
                reader.tell()

    async def read_out(self, patience: float) -> None:
        """Nothing more is published: waits until all have read what there is, `patience` seconds at most."""
        for reader in list(self._readers):
            reader.end()
        try:
            async with asyncio.timeout(patience):
                while not all(reader.closed for reader in self._readers):
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return

    def note_closed(self) -> None:
        """One of them has let go of the log."""
        self._ended.set()

    # --- room ---

    async def room(self, topic: fastfan.Topic, cursor: fastfan.Reader | None = None) -> None:
        """Waits until publishers of the topic need not wait, and memory is not short; nobody waits for his own cursor.

        Raises fastfan.EngineClosed.
        """
        # Always once round the loop: who fills the memory without waiting anywhere keeps it from being emptied.
        await asyncio.sleep(0)
        while not self._engine.roomy or is_paced(topic, cursor):
            waiting = _Waiting(self.loop.create_future(), topic, cursor)
            self._waiting.append(waiting)
            self._look_again()
            await waiting.told

    def _look_again(self) -> None:
        # Once for all who wait. Asked, the engine keeps its clocks going, by which it finds out who lags no more.
        if self._timer is None and self._waiting:
            self._engine.want_room()
            self._timer = self.loop.call_later(_LOOK_EVERY, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tell_room()

    def tell_room(self) -> None:
        """There may be room: who has some goes on."""
        roomy = self._engine.roomy
        self._waiting = [each for each in self._waiting if not each.goes_on(roomy=roomy)]
        try:
            self._look_again()
        except fastfan.EngineClosed:
            self._let_all_go()  # to hear that themselves

    def _let_all_go(self) -> None:
        for waiting in self._waiting:
            waiting.goes_on(roomy=True, closing=True)
        self._waiting = []

    # --- the end ---

    def abandon(self) -> None:
        """Its loop has ended without it: gives the descriptor back. Any thread."""
        self._queue.close()

    def close(self) -> None:
        """Closes every reader, and tells who waits for room to look once more."""
        for reader in list(self._readers):
            reader.close()
        if self._timer is not None:
            self._timer.cancel()
        self._let_all_go()
        self.loop.remove_reader(self._fileno)
        self._queue.close()

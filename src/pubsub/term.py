"""A hub's term: all that it has between its beginning and close(). A hub that begins again has another.

    open ── close() ──► closing: the port, the desks and the channels end, each in its own event loop ──► over
                          └── the closing itself is cancelled: everything is given back at once ────────►│

So nothing of one term can be met in the next, and whoever closes meanwhile waits for the same end.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pubsub.broker import Broker
from pubsub.desk import Desk

if TYPE_CHECKING:
    from pubsub.channel import Channel, Wire
    from pubsub.options import Options
    from pubsub.server import Server

__all__ = ["Term"]

# After the last Close, clients have so long to take it before their channels are left to the web server.
_GRACE = 0.5
_LOOK_EVERY = 0.01


class Term:
    """Any thread, any event loop. Raises OSError when the system has no descriptors left for it."""

    def __init__(self, options: Options) -> None:
        self.broker = Broker(options, sweeps_itself=True)
        self.channels: set[Channel] = set()
        self.server: Server | None = None
        self._options = options
        self._lock = threading.Lock()  # over the desks and timers, and whether it is closing
        self._desks: dict[asyncio.AbstractEventLoop, Desk] = {}
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}
        self._over: concurrent.futures.Future[None] | None = None

    @property
    def closing(self) -> bool:
        return self._over is not None

    def desk(self) -> Desk | None:
        """That of the running event loop; None when the term is closing."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._over is not None:
                return None
            desk = self._desks.get(loop)
            if desk is None:
                for old in [each for each in self._desks if each.is_closed()]:
                    self._desks.pop(old).abandon()
                    self._timers.pop(old, None)
                desk = self._desks[loop] = Desk(self.broker.engine)
            return desk

    # --- clocks ---

    def begin_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        """The clock of a loop's channels runs while there are any."""
        with self._lock:
            if self._over is None and loop not in self._timers:
                self._timers[loop] = loop.call_later(self._step, self._beat, loop)

    @property
    def _step(self) -> float:
        return min(1.0, self._options.subscriber_write_timeout / 8)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._timers.pop(loop, None)
            if self._over is not None:
                return
            desk = self._desks.get(loop)
        if desk is not None:
            desk.pauses.beat()
        channels = [channel for channel in list(self.channels) if channel.loop is loop]
        for channel in channels:
            channel.age(self._step)
        self.broker.sweep(self._step)
        if channels:
            self.begin_clock(loop)

    # --- the end ---

    async def close(self, drain: float) -> None:
        """Returns when all is over, whoever closes; cancelled, it gives everything back at once."""
        with self._lock:
            mine = self._over is None
            if self._over is None:
                self._over = concurrent.futures.Future()
            over = self._over
        if not mine:
            await asyncio.shield(asyncio.wrap_future(over))
            return
        try:
            await self._end(drain)
        finally:
            self._give_back()
            over.set_result(None)

    async def _end(self, drain: float) -> None:
        server = self.server
        ends = [_in_loop(desk.loop, lambda desk=desk: _end_desk(desk, drain)) for desk in self._desks.values()]  # type: ignore[misc]
        if server is not None:
            ends.append(_in_loop(server.loop, lambda: server.close(drain=drain)))
        for channel in list(self.channels):
            _call_in_loop(channel.loop, channel.end)
        await asyncio.gather(*ends)
        for channel in list(self.channels):
            if not _call_in_loop(channel.loop, channel.close):
                self.channels.discard(channel)
        # They may be in several loops, so there is nothing to wait for but that they have gone.
        await self._wait_gone(self.channels)

    async def send_away(self, wires: Collection[Wire]) -> None:
        """Closes the clients of these with 1012, in the running loop, which is theirs; the term goes on."""
        leaving = {channel for channel in self.channels if channel.wire in wires}
        for channel in leaving:
            channel.close()
        await self._wait_gone(leaving)

    async def _wait_gone(self, leaving: set[Channel]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _GRACE
        while self.channels & leaving and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY)

    def _give_back(self) -> None:
        for loop, timer in self._timers.items():
            _call_in_loop(loop, timer.cancel)
        for desk in self._desks.values():
            if not _call_in_loop(desk.loop, desk.close):
                desk.abandon()
        if self.server is not None and not self.server.closed:
            self.server.abandon()
        self._desks, self._timers = {}, {}
        self.broker.close()


async def _end_desk(desk: Desk, drain: float) -> None:
    if drain > 0:
        await desk.read_out(drain)
    desk.close()


async def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Does it there; nothing where that loop does not run any more."""
    if loop is asyncio.get_running_loop():
        await work()
    elif loop.is_running():
        with suppress(RuntimeError):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))


def _call_in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> bool:
    """Calls it there, now or soon; False where there is no loop any more."""
    try:
        running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if loop is running:
        call()
        return True
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return False
    return loop.is_running()

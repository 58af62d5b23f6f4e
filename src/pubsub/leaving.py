"""How a server's clients are sent away: with 1012, all at once or one after the other, and waited for.

    spread       ─┬───┬───┬───┬───┬──   a Close each, so that not all come back in the same second
    send_off     ─┼──────────────────   a Close for everybody who has none yet
    wait_gone    ─┴────────────── ─ ─   until the last has gone, or patience is over
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsub import closing

if TYPE_CHECKING:
    from pubsub.handshake import Role
    from pubsub.session import Session, Sessions

__all__ = ["GRACE", "Leaving"]

# With fewer than so many it goes faster: a few who come back at once are no storm.
_MANY = 20
_SPREAD_EVERY = 0.02
# Who is closed last has so long to take it, seconds, before what is left is reset.
GRACE = 0.5


class Leaving:
    """Of one server, for its event loop."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """Somebody may have gone."""
        self._changed.set()

    async def spread(self, role: Role, seconds: float, *, until: float) -> None:
        """Closes those with any part of that role, in about so many seconds; each has until then, by the loop's clock,
        to take what it is owed."""
        waiting = [session for session in self._sessions.all() if role & session.role]
        count, begun = len(waiting), self._loop.time()
        seconds *= min(1.0, (count - 1) / _MANY)
        waiting.reverse()
        while waiting and self._sessions.count(role):
            passed = self._loop.time() - begun
            due = 1 + int(count * passed / seconds) if passed < seconds else count
            while waiting and count - len(waiting) < due:
                self._close(waiting.pop(), until - self._loop.time() + GRACE, after_log=True)
            await asyncio.sleep(_SPREAD_EVERY if waiting else 0)

    async def send_off(self, role: Role, *, patience: float, after_log: bool) -> None:
        """Closes everybody with any part of that role, and waits until they have gone, `patience` seconds at most."""
        for session in self._sessions.all():
            if role & session.role:
                self._close(session, patience, after_log=after_log)
        await self.wait_gone(role, patience)

    def _close(self, session: Session, deadline: float, *, after_log: bool) -> None:
        row = closing.closing(closing.RESTART)
        self._sessions.close(session, row.code, row.reason, after_log=after_log, deadline=deadline)

    async def wait_gone(self, role: Role, patience: float) -> None:
        """Returns when nobody with any part of that role is left, after `patience` seconds at most."""
        try:
            async with asyncio.timeout(patience):
                while self._sessions.count(role):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

"""What one client may send in a second, where Python counts it: without the lane, and in a mount.

The rules are the engine's (_rates.pyx): a second begins with the first frame that falls into none, so exactly the limit
passes in each; and what piled up while this process stood still comes all at once, and is held against nobody.
"""

import time
from collections.abc import Callable

__all__ = ["FRAME_HEADER_BYTES", "Pauses", "Rate"]

# Of a client's frame, at least: an empty one counts as well.
FRAME_HEADER_BYTES = 6
_SECOND = 1.0
# A beat's longest interval, and a second more: a loop that is merely busy is not that late.
_LATE = 2.0


class Pauses:
    """Notices that an event loop has stood still, by its beats, which come at least once a second."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds that only grow."""
        self.clock = clock
        self._beaten = clock()
        self._resumed = self._beaten - _SECOND

    def beat(self) -> None:
        self._beaten = self._look()

    def just_resumed(self) -> bool:
        """Whether it went on less than a second ago. It looks for itself: what piled up is read before a late beat."""
        return self._look() - self._resumed < _SECOND

    def _look(self) -> float:
        """The time; a beat that is late is noted."""
        now = self.clock()
        if now - self._beaten > _LATE:
            self._resumed = self._beaten = now
        return now


class Rate:
    """Of one client: what it sent in its current second."""

    __slots__ = ("_began", "_count")

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0

    def add(self, amount: int, now: float) -> int:
        """The count with `amount` more; `now` is the clock's."""
        if now - self._began >= _SECOND:
            self._began, self._count = now, 0
        self._count += amount
        return self._count

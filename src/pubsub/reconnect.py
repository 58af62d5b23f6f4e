"""When a client that lost its connection connects again, and when it does not: without a clock or a socket.

    lost ──► comes back? ── no ──► over, with that error
                 │ yes
                 ▼
          next_delay() ── None: the limits are reached ──► over, with the last error
                 │ seconds
                 ▼
          wait, connect ── failed ──► comes back? ...
                 │
                 ▼
               open ── and lost again before it was `steady_after` seconds old ──► the row goes on

What counts is a row of attempts: it ends when a connection has lasted. So a server that takes clients in only to close
them is tried less and less often too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLCertVerificationError

from pubsub.errors import ConfigError, ConnectFailed, ConnectionClosed, MisuseError, PubSubError, UpgradeRefused, shown
from pubsub.options import check_duration

__all__ = ["Backoff", "Reconnect", "backoff_for", "checked_seconds", "comes_back", "retry_after"]

# Refusals that pass: too slow, too many, and what servers and the proxies before them say while they start or stop.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
# RFC 9110 section 10.2.3, RFC 6585 section 4: these two may say how long to stay away.
_SAY_WHEN = frozenset({429, 503})


def checked_seconds(name: str, value: float, *, lowest: float | None = None) -> float:
    """A duration that the caller gave. Raises MisuseError when it is none."""
    try:
        return check_duration(name, value) if lowest is None else check_duration(name, value, lowest=lowest)
    except ConfigError as error:
        raise MisuseError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How a client comes back. Durations are seconds.

    Before attempt n of a row it waits a random time from 0 to `first_delay` * 2**(n - 1), of which `max_delay` is the
    most. It gives up after so many `attempts` in a row, and begins none later than `give_up_after` seconds after the
    row's first loss; None: never. A row ends with a connection that lasts for `steady_after`.
    """

    first_delay: float = 0.5
    max_delay: float = 30.0
    attempts: int | None = None
    give_up_after: float | None = None
    steady_after: float = 10.0

    def __post_init__(self) -> None:
        for name, lowest in (("first_delay", None), ("max_delay", None), ("steady_after", 0.0)):
            object.__setattr__(self, name, checked_seconds(name, getattr(self, name), lowest=lowest))
        if self.max_delay < self.first_delay:
            raise MisuseError(
                f"max_delay={self.max_delay:g} is below first_delay={self.first_delay:g}; raise it, or lower the other"
            )
        if self.give_up_after is not None:
            object.__setattr__(self, "give_up_after", checked_seconds("give_up_after", self.give_up_after))
        attempts = self.attempts
        if attempts is not None and (isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1):
            raise MisuseError(f"attempts={shown(attempts)} is no number from 1; give one such as 10, or None")


class Backoff:
    """Where a client is in its row of attempts. Times are of any clock that only goes forward.

    `draw` gives numbers from 0 to 1. The whole delay is random ("full jitter"): clients that were lost together must
    not come back together.
    """

    def __init__(self, limits: Reconnect, draw: Callable[[], float] = random.random) -> None:
        self._limits = limits
        self._draw = draw
        self._opened_at: float | None = None
        self._begin_row()

    def _begin_row(self) -> None:
        self._row_began_at: float | None = None
        self._attempts = 0
        self._bound = self._limits.first_delay

    def on_open(self, now: float) -> None:
        """There is a connection."""
        self._opened_at = now

    def on_lost(self, now: float) -> None:
        """It is gone."""
        if self._opened_at is not None and now - self._opened_at >= self._limits.steady_after:
            self._begin_row()
        if self._row_began_at is None:
            self._row_began_at = now

    def next_delay(self, now: float, *, at_least: float = 0.0) -> float | None:
        """Seconds to wait before the next attempt; None: no more.

        `at_least` is what the server asked for. The random part comes on top, and of each `max_delay` is the most.
        """
        limits = self._limits
        at_least = min(at_least, limits.max_delay)
        left = self._left(now)
        if (limits.attempts is not None and self._attempts >= limits.attempts) or left <= at_least:
            return None
        delay = at_least + self._draw() * self._bound
        self._attempts += 1
        self._bound = min(2 * self._bound, limits.max_delay)
        # The last attempt is made at the deadline, not left out because of the draw.
        return min(delay, left)

    def _left(self, now: float) -> float:
        if self._limits.give_up_after is None or self._row_began_at is None:
            return float("inf")
        return self._row_began_at + self._limits.give_up_after - now


def backoff_for(reconnect: bool | Reconnect) -> Backoff | None:
    """What the argument `reconnect` of a client asks for; None: it does not come back."""
    if isinstance(reconnect, Reconnect):
        return Backoff(reconnect)
    if isinstance(reconnect, bool):
        return Backoff(Reconnect()) if reconnect else None
    raise MisuseError(f"reconnect={shown(reconnect)} is neither True nor False; for limits give Reconnect(...)")


def comes_back(error: PubSubError) -> bool:
    """Whether to connect again after `error` ended a connection, or an attempt to make one."""
    if isinstance(error, ConnectionClosed):
        return error.come_back
    if isinstance(error, UpgradeRefused):
        return error.status in _PASSING
    # A certificate that does not verify is no accident, and may be an attack.
    return isinstance(error, ConnectFailed) and not isinstance(error.__cause__, SSLCertVerificationError)


def retry_after(error: PubSubError) -> float:
    """The seconds that a refusal asks to wait; 0 when it asks for none. Dates are passed over: clocks differ."""
    if isinstance(error, UpgradeRefused) and error.status in _SAY_WHEN:
        asked = dict(error.headers).get("retry-after", "").strip()
        if asked.isascii() and asked.isdecimal():
            # More digits than any duration has are as good as nine nines, and float() takes them all.
            return float(asked[:9])
    return 0.0

"""What a client tells its program between two connections: the callbacks, and the line for who gave none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from pubsub.errors import MisuseError, PubSubError, shown
from pubsub.gap import Gap

__all__ = ["OnAway", "OnGap", "Teller"]

_log = logging.getLogger("pubsub")

OnGap = Callable[[Gap], object]
OnAway = Callable[[PubSubError], object]
ValueT = TypeVar("ValueT")


class Teller:
    """`who` names the client in logs. Raises MisuseError for callbacks that cannot be, or that nothing would call."""

    def __init__(self, who: str, *, on_gap: OnGap | None, on_away: OnAway | None, comes_back: bool) -> None:
        for name, callback in (("on_gap", on_gap), ("on_away", on_away)):
            if callback is not None and not callable(callback):
                raise MisuseError(f"{name}={shown(callback)} cannot be called; give a function of one argument")
            if callback is not None and not comes_back:
                raise MisuseError(f"{name} is given, but this client does not come back; give reconnect=True as well")
        self._who = who
        self._on_gap = on_gap
        self._on_away = on_away

    def tell_gap(self, gap: Gap) -> None:
        """Raises what the callback raises: for a caller who is the program's own."""
        if self._on_gap is not None:
            self._on_gap(gap)
        else:
            _log.warning("%s is %s", self._who, gap)

    def on_gap(self, gap: Gap) -> None:
        """The same from the loop: there is nobody to take what the callback raises but the loop's handler."""
        self._guard(self.tell_gap, gap)

    def on_away(self, error: PubSubError) -> None:
        if self._on_away is not None:
            self._guard(self._on_away, error)

    def _guard(self, callback: Callable[[ValueT], object], value: ValueT) -> None:
        try:
            callback(value)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"pubsub: a callback of the {self._who} failed", "exception": error}
            )

"""What may be missing after a client came back: the value its program is told, and how to count.

    first connection    101: epoch e, offset 7    messages 7 8 9, then lost          next would be 10
    second connection   101: epoch e, offset 14                                      10 to 13 were missed: 4

Offsets of two epochs do not compare, and where the server may skip, the 101 has no offset: then nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pubsub.errors import PubSubError

__all__ = ["Gap", "Place", "counted", "missed_between", "place_named"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a client had no connection.

    `error` is why the connection had ended, `seconds` how long it took until there was one again. `missed` is of a
    Subscriber: how many messages it did not get; None: that cannot be known. `unconfirmed` is of a Publisher: how many
    of its messages were not known to be in the server's log, and may be lost.
    """

    error: PubSubError
    seconds: float
    missed: int | None = 0
    unconfirmed: int = 0

    def __str__(self) -> str:
        return f"back after {self.seconds:.1f} s ({self.error}): {self._loss()}"

    def _loss(self) -> str:
        if self.missed is None:
            return "messages may be missing, and nobody knows how many"
        if self.missed:
            return f"{counted(self.missed)} missed"
        if self.unconfirmed:
            return f"{counted(self.unconfirmed)} unconfirmed, and maybe lost"
        return "nothing is missing"


def counted(count: int) -> str:
    """`1 message`, `2 messages`."""
    return f"{count} message{'' if count == 1 else 's'}"


class Place(NamedTuple):
    """A place in a topic's log: the next message's offset, in one epoch."""

    epoch: str
    offset: int


def place_named(headers: Iterable[tuple[str, str]]) -> Place | None:
    """The place that a 101 names; None when it names none, or nonsense."""
    named = dict(headers)
    epoch, offset = named.get("pubsub-epoch", ""), named.get("pubsub-offset", "")
    if not epoch or not (offset.isascii() and offset.isdecimal() and len(offset) < 20):
        return None
    return Place(epoch, int(offset))


def missed_between(began: Place | None, received: int, now: Place | None) -> int | None:
    """How many messages lie between a connection that began at `began` and got `received`, and one at `now`."""
    if began is None or now is None or began.epoch != now.epoch:
        return None
    missed = now.offset - began.offset - received
    # A log does not go back within one epoch.
    return missed if missed >= 0 else None

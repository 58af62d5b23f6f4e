"""Scripts played both ways and compared; and of one that makes a difference the least that still does."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.clientstreams import Script
from tests.support.ways import Outcome, Way, to_answers

__all__ = ["BothWays", "difference_of", "read_script", "shrunk", "write_script"]

SEATS = 64
TRIES = 3000  # that shrinking may take: a minute or so


class BothWays:
    """An engine with the lane and one without, for as many scripts as wanted."""

    def __init__(self, *, seats: int = SEATS) -> None:
        self._laned, self._plain = Way(lane=True, seats=seats), Way(lane=False, seats=seats)

    def play(self, scripts: Sequence[Script]) -> dict[int, str]:
        """Which of them make a difference, by index, and what. AssertionError for one that shows only in counts."""
        one, other = self._laned.play(scripts), self._plain.play(scripts)
        pairs = enumerate(zip(one, other, strict=True))
        different = {index: f"{described(it)}\n{described(that)}" for index, (it, that) in pairs if not it.agrees(that)}
        counts = self._laned.counts(), self._plain.counts()
        assert different or counts[0] == counts[1], f"counts {counts[0]} and {counts[1]}"
        assert counts[0].memory_bytes == 0, f"{counts[0].memory_bytes} bytes are held when everybody has everything"
        return different

    def departures(self) -> dict[str, int]:
        """How many have departed, by cause, on either way."""
        return self._laned.counts().departures

    def end(self) -> None:
        try:
            self._laned.end()
        finally:
            self._plain.end()


def difference_of(script: Script) -> str:
    """What differs when it is played alone; nothing when nothing does."""
    try:
        # With a subscriber, and without.
        for seats in (1, 5):
            ways = [Way(lane=lane, seats=seats) for lane in (True, False)]
            try:
                one, other = (way.play([script], seat=seats - 1)[0] for way in ways)
                counts = [way.counts() for way in ways]
            finally:
                for way in ways:
                    way.end()
            if not one.agrees(other):
                return f"{described(one)}\n{described(other)}"
            if counts[0] != counts[1]:
                return f"{counts[0]}\n{counts[1]}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def described(outcome: Outcome) -> str:
    answers = to_answers(outcome.answers)
    return f"log of {len(outcome.log)} bytes {outcome.log[-60:]!r}, departed {outcome.cause}, got {str(answers)[:300]}"


# --- smaller --------------------------------------------------------------------------------------------------------


def shrunk(script: Script) -> Script:
    """The least of it that makes a difference."""
    tries = itertools.count()
    while True:
        for smaller in _smaller(script):
            if next(tries) > TRIES:
                return script
            if difference_of(smaller):
                script = smaller
                break
        else:
            return script


def _smaller(script: Script) -> Iterator[Script]:
    """Each without something: an event, a cut, a piece, some bytes; large steps first."""
    if script.publish_at >= 0:
        yield script._replace(publish_at=-1)
    if script.close_at >= 0:
        yield script._replace(close_at=-1)
    if script.leaves != "finish":
        yield script._replace(leaves="finish")
    pieces = script.pieces
    for at in range(len(pieces)):
        yield _without(script, at)
    for at in range(len(pieces) - 1):
        joined = _without(script, at)
        yield joined._replace(pieces=[*pieces[:at], pieces[at] + pieces[at + 1], *pieces[at + 2 :]])
    for at, piece in enumerate(pieces):
        for shorter in _shorter(piece):
            yield script._replace(pieces=[*pieces[:at], shorter, *pieces[at + 1 :]])


def _shorter(piece: bytes) -> Iterator[bytes]:
    size = len(piece) // 2 if len(piece) > 64 else len(piece) - 1
    while size > 0:
        # A short piece loses what it can lose from any place on: a frame begins anywhere.
        for start in range(0, len(piece), size if len(piece) > 64 else 1):
            yield piece[:start] + piece[start + size :]
        size = size // 2 if len(piece) > 64 else size - 1


def _without(script: Script, at: int) -> Script:
    def moved(place: int) -> int:
        return place - 1 if place > at else place

    pieces = [*script.pieces[:at], *script.pieces[at + 1 :]]
    return script._replace(pieces=pieces, publish_at=moved(script.publish_at), close_at=moved(script.close_at))


# --- files ----------------------------------------------------------------------------------------------------------


def write_script(path: Path, script: Script) -> None:
    fields = script._asdict() | {"pieces": [piece.hex() for piece in script.pieces]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields, indent=1) + "\n")


def read_script(path: Path) -> Script:
    fields = json.loads(path.read_text())
    return Script(**fields | {"pieces": [bytes.fromhex(piece) for piece in fields["pieces"]]})

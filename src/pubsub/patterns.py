"""Patterns over topics, the same in every option that has some.

    /prices/*      `*` is one segment, and never an empty one       /prices/eur, not /prices/ or /prices/eur/usd
    /prices/eur-*  beside other characters, the rest of its own     /prices/eur-usd
    /rooms/**      `**` is any number of segments, none too         /rooms, /rooms/, /rooms/1/talk

Of several patterns, the first that matches counts, in the order given. Topics are compared as requests write them,
escaped and not normalised; a pattern is escaped as a topic is, so `/café/*` means `/caf%C3%A9/*`.

A topic is whatever a stranger's request says, so matching takes no longer than the topic's length times the pattern's:
`**` cuts a pattern into runs of segments that each have a fixed length, and the first place where a run fits is as good
as any other.
"""

from itertools import pairwise

from pubsub.addresses import topic_path
from pubsub.errors import ConfigError, MisuseError, shown

__all__ = ["Pattern"]


class Pattern:
    """One pattern. Raises ConfigError for a text that is none; `name` is what that error calls it."""

    __slots__ = ("_runs", "text")

    def __init__(self, text: str, *, name: str = "pattern") -> None:
        self.text = _checked(name, text)
        self._runs: list[list[str]] = [[]]
        for part in self.text[1:].split("/"):
            if part == "**":
                self._runs.append([])
            else:
                self._runs[-1].append(part)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def matches(self, topic: str) -> bool:
        """Whether `topic`, an escaped path, is one of those meant."""
        segments = topic[1:].split("/")
        first, *between = self._runs
        if not between:
            return len(segments) == len(first) and _fits(first, segments, 0)
        last = between.pop()
        end = len(segments) - len(last)
        if len(first) > end or not _fits(first, segments, 0) or not _fits(last, segments, end):
            return False
        at = len(first)
        for run in between:
            while at + len(run) <= end and not _fits(run, segments, at):
                at += 1
            at += len(run)
        return at <= end


def _fits(run: list[str], segments: list[str], at: int) -> bool:
    return all(_is_one(part, segments[place]) for place, part in enumerate(run, at))


def _is_one(part: str, segment: str) -> bool:
    before, star, after = part.partition("*")
    if not star:
        return part == segment
    return len(segment) > len(before) + len(after) and segment.startswith(before) and segment.endswith(after)


def _checked(name: str, text: object) -> str:
    if not isinstance(text, str) or not text.startswith("/"):
        raise ConfigError(
            f"{name} {shown(text)} does not start with '/'; give one such as '/prices/*', or '/**' for all"
        )
    parts = text[1:].split("/")
    if any(part.count("*") > 1 and part != "**" for part in parts):
        raise ConfigError(
            f"{name} {shown(text)} has several stars in one segment; "
            f"give one in a segment, such as '/prices/eur-*', or ** as a segment of its own"
        )
    if ("**", "**") in pairwise(parts):
        raise ConfigError(f"{name} {shown(text)} has ** twice in a row; one is any number of segments already")
    try:
        return topic_path(text)
    except MisuseError as error:
        # It names topic, value and cure; what it is about here is a pattern.
        raise ConfigError(f"{name}: {error}") from None

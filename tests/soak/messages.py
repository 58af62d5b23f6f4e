"""What steady publishers send, and how a reader finds out what is wrong with it.

    │ publisher │ number │ made at, ns │ empty ones before it │ CRC-32 │ body: text or binary, up to 1 MiB │

The fields are hexadecimal digits, so that a text message can carry them too. A message of 0 bytes can carry nothing;
the next one says how many of them there were, and only one publisher of a topic sends some.
"""

import random
import time
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field

__all__ = ["Mint", "Reading", "Tally"]

_HEAD = 44  # characters of the fields before the CRC
_WHOLE_HEAD = _HEAD + 9
_MIB = 1 << 20

# Share, and bytes from and to: mostly small, and a large one often enough for each topic to have some every minute.
_SIZES = ((0.05, 0, 0), (0.77, 60, 250), (0.14, 1 << 10, 16 << 10), (0.03, 32 << 10, 256 << 10), (0.01, _MIB, _MIB))
_BINARY = random.Random(0).randbytes(2 * _MIB)
_TEXT = "".join(random.Random(0).choices("abcdefghij klmnop ÄÖÜß €→ 😀\n", k=_MIB))
_MISSING_MAX = 10_000


class Mint:
    """Makes one publisher's messages."""

    def __init__(self, publisher: int, *, seed: int, empties: bool = False) -> None:
        self.publisher = publisher
        self.number = 0
        self._random = random.Random(f"{seed} {publisher}")
        self._empties = empties
        self._empty_count = 0

    def next(self) -> bytes | str:
        size = self._size()
        if size == 0 and self._empties:
            self._empty_count += 1
            return b""
        self.number += 1
        if self._random.random() < 0.4:
            start = self._random.randrange(len(_TEXT))
            return self._head(body := _TEXT[start : start + size // 2]) + body
        start = self._random.randrange(_MIB)
        body_bytes = _BINARY[start : start + max(0, size - _WHOLE_HEAD)]
        return self._head(body_bytes).encode() + body_bytes

    def _size(self) -> int:
        share = self._random.random()
        for each, least, most in _SIZES:
            share -= each
            if share < 0:
                return self._random.randint(least, most)
        return _SIZES[1][1]

    def _head(self, body: bytes | str) -> str:
        made = time.monotonic_ns()
        fields = f"{self.publisher:08x} {self.number:08x} {made:016x} {self._empty_count:08x} "
        return f"{fields}{_crc(fields, body):08x} "


def _crc(fields: str, body: bytes | str) -> int:
    return zlib.crc32(body.encode() if isinstance(body, str) else body, zlib.crc32(fields.encode()))


@dataclass(slots=True)
class Tally:
    """What all readers got, and what was wrong with it."""

    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    damaged: int = 0
    skipped: int = 0  # on topics where messages may be
    latencies_ns: list[int] = field(default_factory=list)  # since they were last taken, of readings that are timed
    faults: list[str] = field(default_factory=list)

    def fault(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.faults) < 20:
            self.faults.append(f"{kind}: {text}")


class _Source:
    """What one reader knows of one publisher."""

    __slots__ = ("base", "last", "missing")

    def __init__(self, last: int) -> None:
        self.last = last
        self.missing: set[int] = set()
        self.base: tuple[int, int] | None = None  # empty messages it had sent, and those that had come, at one moment


class Reading:
    """One reader's view of a topic. It is there before the publishers that are `known`: of these it must have all."""

    def __init__(self, name: str, tally: Tally, *, gaps: bool, known: Collection[int], timed: bool = True) -> None:
        self.name = name
        self._tally = tally
        self._gaps = gaps
        self._known = known
        self._timed = timed
        self._sources: dict[int, _Source] = {}
        self._empties = 0

    def last(self, publisher: int) -> int:
        source = self._sources.get(publisher)
        return source.last if source else 0

    def take(self, message: bytes | str) -> None:
        now = time.monotonic_ns()
        tally = self._tally
        tally.delivered += 1
        tally.delivered_bytes += len(message)
        if not message:
            self._empties += 1
            return
        head = message[:_HEAD] if isinstance(message, str) else message[:_HEAD].decode("latin-1")
        try:
            publisher, number, made, empties = (int(each, 16) for each in head.split())
            crc = int(message[_HEAD : _WHOLE_HEAD - 1], 16)
        except ValueError:
            tally.fault("damaged", f"{self.name} got {message[:80]!r}, which nobody sent")
            return
        if crc != _crc(head, message[_WHOLE_HEAD:]):
            tally.fault("damaged", f"{self.name}: {publisher}'s message {number}, {len(message)} long, is another")
            return
        if self._timed:
            tally.latencies_ns.append(now - made)
        self._count(publisher, number, empties)

    def _count(self, publisher: int, number: int, empties: int) -> None:
        source = self._sources.get(publisher)
        if source is None:
            source = self._sources[publisher] = _Source(0 if publisher in self._known else number - 1)
            if publisher in self._known:
                source.base = 0, 0
        what = f"{self.name}: {publisher}'s message {number} after {source.last}"
        if number == source.last + 1:
            source.last = number
        elif number > source.last:
            self._jump(source, number, what)
        elif number in source.missing:
            source.missing.remove(number)
            self._tally.lost -= 1
            self._tally.fault("reordered", what)
        else:
            self._tally.fault("duplicated", what)
        if not self._gaps:
            self._count_empties(source, empties, what)

    def _jump(self, source: _Source, number: int, what: str) -> None:
        gap = range(source.last + 1, number)
        source.last = number
        if self._gaps:
            self._tally.skipped += len(gap)
            return
        self._tally.fault("lost", what)
        self._tally.lost += len(gap) - 1
        source.missing.update(gap[:_MISSING_MAX])

    def _count_empties(self, source: _Source, empties: int, what: str) -> None:
        base, source.base = source.base, (empties, self._empties)
        if base is None or empties == base[0]:
            return
        sent, came = empties - base[0], self._empties - base[1]
        if came < sent:
            self._tally.fault("lost", f"{what}: {sent} empty ones in between, {came} came")
        elif came > sent:
            self._tally.fault("duplicated", f"{what}: {sent} empty ones in between, {came} came")

    def miss(self, publisher: int, number: int) -> None:
        """`number` is the publisher's last, and there will be no more."""
        if self.last(publisher) < number:
            self._tally.fault("lost", f"{self.name}: {publisher}'s last is {number}, got {self.last(publisher)}")
            self._tally.lost += number - self.last(publisher) - 1

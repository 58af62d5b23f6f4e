"""What a soak comes to: PASS or FAIL, a line each, and why.

Trends are of medians of windows, by Theil and Sen's slope, without the first fifth of the time: until then the pool of
segments, the kernel's and the allocator's, and Python's caches fill. Their tolerances:

- Memory, RSS less what the server counts as messages: 5 MiB, or 3 % of it, in 10 minutes. The pool's spare segments
  make it wobble by as much from window to window. A leak of 100 bytes for each of 140 clients a second is 8 MiB.
- Messages held: those of laggards come and go by the tens of MiB, so 1.25 times the first half's median, and 8 MiB.
  That none are left when everybody has gone is the line `rest`.
- Descriptors that are no client's: 5 in 10 minutes. One leaked by a client in a thousand would be 84.
- p99: twice that of the first half, and 5 ms. It is taken on a core that the population has to share.

Under five minutes the trends are shown, and not judged.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.soak.ground import GONE, LEFT_LATE
from tests.soak.plan import CUT_OFF
from tests.soak.running import Outcome
from tests.soak.samples import Sample
from tests.soak.trend import Point, halves, slope, windows

__all__ = ["JUDGED_MINUTES", "Line", "judge"]

JUDGED_MINUTES = 5.0
_TEN_MINUTES = 600.0
_WARMING = 0.2  # of the time
_WINDOWS = 40
_MIB = 1 << 20
_MEMORY_MIB, _MEMORY_SHARE = 5.0, 0.03
_HELD_FACTOR, _HELD_MIB = 1.25, 8.0
_DESCRIPTORS = 5.0
_P99_FACTOR, _P99_MS = 2.0, 5.0
_WHOLE_CUT_MINUTES = 0.5  # in less, nobody may have been cut off for as long as it takes
_WRONGS = ("lost", "duplicated", "reordered", "damaged")


@dataclass(frozen=True, slots=True)
class Line:
    """`passed` is None where it was not judged."""

    name: str
    passed: bool | None
    text: str

    def __str__(self) -> str:
        mark = {True: "PASS", False: "FAIL", None: "----"}[self.passed]
        return f"{mark}  {self.name:<12} {self.text}"


def judge(outcome: Outcome) -> list[Line]:
    long = outcome.plan.minutes >= JUDGED_MINUTES
    return [
        _memory(outcome.samples, long=long),
        _held(outcome.samples, long=long),
        _descriptors(outcome, long=long),
        _threads(outcome.samples),
        _rest(outcome),
        _messages(outcome),
        _wire(outcome),
        _cut_off(outcome),
        _departures(outcome),
        _refusals(outcome),
        _latency(outcome.samples, long=long),
        _faults(outcome),
    ]


def _warm(samples: list[Sample]) -> list[Sample]:
    start = samples[-1].seconds * _WARMING
    return [each for each in samples if each.seconds >= start]


def _in_ten_minutes(points: list[Point]) -> float:
    return slope(windows(points, _WINDOWS)) * _TEN_MINUTES


def _memory(samples: list[Sample], *, long: bool) -> Line:
    warm = _warm(samples)
    points = [(each.seconds, (each.rss_bytes - each.memory_bytes) / _MIB) for each in warm]
    growth, (first, second) = _in_ten_minutes(points), halves(points)
    tolerance = max(_MEMORY_MIB, _MEMORY_SHARE * first)
    whole = [(each.seconds, each.rss_bytes / _MIB) for each in warm]
    text = (
        f"RSS without messages {first:.1f} MiB in the first half, {second:.1f} in the second: {growth:+.2f} MiB in "
        f"10 minutes (tolerance {tolerance:.1f}); with them {_shown(halves(whole))}, "
        f"{_in_ten_minutes(whole):+.2f}, at most {max(value for _, value in whole):.1f}"
    )
    return Line("memory", growth <= tolerance if long else None, text)


def _held(samples: list[Sample], *, long: bool) -> Line:
    points = [(each.seconds, each.memory_bytes / _MIB) for each in _warm(samples)]
    first, second = halves(points)
    bound = _HELD_FACTOR * first + _HELD_MIB
    text = f"{_shown((first, second))} MiB of messages (bound {bound:.1f}), at most {max(v for _, v in points):.1f}"
    return Line("held", second <= bound if long else None, text)


def _shown(medians: tuple[float, float]) -> str:
    return f"{medians[0]:.1f} and {medians[1]:.1f}"


def _descriptors(outcome: Outcome, *, long: bool) -> Line:
    warm = _warm(outcome.samples)
    growth = _in_ten_minutes([(each.seconds, float(each.others)) for each in warm])
    most = max(each.descriptors for each in warm)
    text = f"at most {most}; those that are no client's: {growth:+.1f} in 10 minutes (tolerance {_DESCRIPTORS:g})"
    return Line("descriptors", growth <= _DESCRIPTORS if long else None, text)


def _threads(samples: list[Sample]) -> Line:
    counts = sorted({each.threads for each in samples})
    return Line("threads", len(counts) == 1, f"{' to '.join(map(str, counts))}")


def _rest(outcome: Outcome) -> Line:
    before, after = outcome.rest_before, outcome.rest_after
    if before is None or after is None:
        return Line("rest", False, "it was not reached")
    good = not (after.clients or after.topics or after.memory_bytes) and after.descriptors <= before.descriptors
    text = (
        f"afterwards {after.clients} clients, {after.topics} topics, {after.memory_bytes} bytes of messages, "
        f"{after.descriptors} descriptors ({before.descriptors} before), RSS {after.rss_bytes / _MIB:.1f} MiB "
        f"({before.rss_bytes / _MIB:.1f} before)"
    )
    return Line("rest", good, text)


def _messages(outcome: Outcome) -> Line:
    good, text = _intact(outcome.steady)
    floods = f"{outcome.counts.get('delivered', 0):,} in {outcome.counts.get('flood', 0)} floods"
    return Line("messages", good, f"to steady readers {text}; {floods}")


def _intact(readers: dict[str, Any]) -> tuple[bool, str]:
    wrongs = ", ".join(f"{readers.get(kind, '?')} {kind}" for kind in _WRONGS)
    good = bool(readers.get("delivered")) and not any(readers.get(kind, 1) for kind in _WRONGS)
    return good, (
        f"{readers.get('delivered', 0):,}, {readers.get('delivered_bytes', 0) / 1e6:,.0f} MB: {wrongs} "
        f"(and {readers.get('skipped', 0):,} skipped where they may be)"
    )


def _without(outcome: Outcome, what: str) -> str:
    return "; ".join(f"without {each}" for each in outcome.without if what in each)


def _wire(outcome: Outcome) -> Line:
    if without := _without(outcome, "delay and loss"):
        return Line("wire", None, without)
    good, text = _intact(outcome.far)
    shown = ", ".join(
        f"{name} {_shown(halves(points))} ms"
        for name, points in (
            ("p50", [(each.seconds, each.far_p50_ms) for each in outcome.samples if each.far_p50_ms is not None]),
            ("p99", [(each.seconds, each.far_p99_ms) for each in outcome.samples if each.far_p99_ms is not None]),
        )
        if points
    )
    again = f"{outcome.far.get('sent_again', 0):,} segments from there sent again"
    return Line("wire", good, f"to its readers {text}; {shown}; {again}")


def _cut_off(outcome: Outcome) -> Line:
    if without := _without(outcome, "half-open peers"):
        return Line("half-open", None, without)
    causes: Counter[str] = Counter()
    for (kind, cause), count in outcome.departures.matched.items():
        if kind.startswith(CUT_OFF) and cause != "closed":  # these published what was owed to the others
            causes[cause] += count
    found = ", ".join(f"{count} {cause}" for cause, count in sorted(causes.items())) or "none"
    requests = outcome.counts.get(CUT_OFF + "half_request", 0)
    found_out = any(cause not in GONE for cause in causes) or not outcome.plan.cables
    passed = found_out or (None if outcome.plan.minutes < _WHOLE_CUT_MINUTES else False)
    return Line("half-open", passed, f"{found}; {requests} half requests")


def _departures(outcome: Outcome) -> Line:
    departures = outcome.departures
    told = sum(outcome.stats.get("departures", {}).values())
    matched = sum(departures.matched.values())
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(outcome.stats.get("departures", {}).items()))
    excused = outcome.steady.get("excused", 0)
    text = f"{told:,} told, {matched:,} matched, {departures.fault_count} not; {causes}" + (
        f"; {excused} steady readers sent away while their process stood still" if excused else ""
    )
    return Line("departures", departures.fault_count == 0 and told == matched, text)


def _refusals(outcome: Outcome) -> Line:
    told = {str(status): count for status, count in outcome.stats.get("refusals", {}).items()}
    seen = dict(outcome.refusals_seen)
    # Those who were late with leaving may have had a 408, and did not look.
    unread = told.get("408", 0) - seen.get("408", 0)
    passed = 0 <= unread <= outcome.counts.get(LEFT_LATE, 0) and told | {"408": 0} == seen | {"408": 0}
    text = ", ".join(f"{count} times {status}" for status, count in sorted(told.items())) or "none"
    return Line("refusals", passed, text if passed else f"the server counts {told}, clients read {seen}")


def _latency(samples: list[Sample], *, long: bool) -> Line:
    points = [(each.seconds, each.p99_ms) for each in _warm(samples) if each.p99_ms is not None]
    if not points:
        return Line("p99", False, "nothing was delivered")
    first, second = halves(points)
    middle = halves([(each.seconds, each.p50_ms) for each in _warm(samples) if each.p50_ms is not None])
    bound = _P99_FACTOR * first + _P99_MS
    text = (
        f"{first:.2f} ms in the first half, {second:.2f} in the second (bound {bound:.1f}), at most "
        f"{max(value for _, value in points):.1f}; p50 {middle[0]:.2f} and {middle[1]:.2f}: medians of seconds"
    )
    return Line("p99", second <= bound if long else None, text)


def _faults(outcome: Outcome) -> Line:
    count = outcome.fault_count + len(outcome.logged)
    return Line("faults", not count, f"{outcome.fault_count} of clients, {len(outcome.logged)} lines logged")

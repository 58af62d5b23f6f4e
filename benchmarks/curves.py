"""``python -m benchmarks.curves [NAME ...] [options]``: how cost and latency grow with the workload.

    subscribers   10 to 19,000, one message on its way at a time: CPU of a delivery, time to the last, memory
    size          16 B to 1 MiB, to 100 subscribers, unthrottled: CPU of a delivery, bytes a second
    topics        9,500 subscribers over 1 to 9,500 topics, a publisher each, 50,000 deliveries a second: CPU of one
    rate          1,000 subscribers, 50 messages a second and up: latency until it is saturated

What would make them lie is what makes the benchmarks lie; here there are fewer rounds of more points. The servers take
turns at every point. Descriptors end the curves: 20,000 a process where they were made.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.figures import print_machine
from benchmarks.harness import BenchmarkError, Subject, allow_descriptors, build, counted, end, measure
from benchmarks.pairing import Runs, save
from benchmarks.subjects import ONE_TOPIC, subjects_from
from fastfan.load import Plan
from pubsub.bench.outcome import Outcome, Workload

DELIVERIES_A_SECOND: Final = 50_000
TOPIC_SUBSCRIBERS: Final = 9_500
# A server whose median is later than this is saturated, and its curve ends.
SATURATED_NS: Final = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    points: tuple[int, ...]
    plan: Callable[[int], Plan]
    without: tuple[str, ...] = ()  # servers that cannot do it


def _topics(count: int) -> Plan:
    rate = DELIVERIES_A_SECOND / (TOPIC_SUBSCRIBERS / count)
    return Plan(subscribers=TOPIC_SUBSCRIBERS, topics=count, publishers=count, rate=rate, seconds=3)


CURVES: Final = {
    "subscribers": Curve(
        points=(10, 100, 1000, 5000, 10_000, 19_000),
        plan=lambda count: Plan(subscribers=count, window=1, seconds=2, connecting=256),
    ),
    "size": Curve(
        points=(16, 128, 1 << 10, 16 << 10, 128 << 10, 1 << 20),
        plan=lambda size: Plan(subscribers=100, least_bytes=size, most_bytes=size, seconds=2),
    ),
    "topics": Curve(points=(1, 10, 100, 1000, 9500), plan=_topics, without=ONE_TOPIC),
    "rate": Curve(
        points=(50, 100, 200, 400, 800, 1600, 6400, 25_600),
        plan=lambda rate: Plan(subscribers=1000, rate=rate, seconds=2),
    ),
}


def trace(name: str, curve: Curve, subjects: Sequence[Subject], *, rounds: int) -> Runs:
    """Every point of every server; a point's number is the variant."""
    runs: Runs = {}
    tired: set[str] = set()
    for point in curve.points:
        for _ in range(rounds):
            for subject in subjects:
                if subject.name not in tired:
                    outcome = _measure(subject, Workload(name=f"{name} {point}", plan=curve.plan(point)), tired)
                    runs.setdefault((subject.name, str(point)), []).extend([outcome] if outcome else [])
    return runs


def _measure(subject: Subject, workload: Workload, tired: set[str]) -> Outcome | None:
    try:
        outcome = measure(subject, counted(subject, workload))
    except BenchmarkError as error:
        print(f"  left out from here on: {error}", file=sys.stderr)
        tired.add(subject.name)
        return None
    if outcome.report.latency.p50_ns > SATURATED_NS and workload.plan.rate:
        tired.add(subject.name)
    print("  " + "  ".join(_row(subject.name, outcome)))
    return outcome


def _row(name: str, outcome: Outcome) -> list[str]:
    report = outcome.report
    return [
        f"{outcome.workload.name:<18} {name:<12}",
        f"{outcome.server_cpu_ns or 0:,.0f} ns each",
        f"p50 {report.latency.p50_ns / 1e3:,.0f} us",
        f"p99 {report.latency.p99_ns / 1e3:,.0f} us",
        f"{report.delivered_bytes / 1e6 / (report.publish_seconds or 1):,.0f} MB/s, {report.lost} lost",
    ]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("names", nargs="*", metavar="NAME")
    top.add_argument("--server", action="append", default=[], metavar="SERVER")
    top.add_argument("--rounds", type=int, default=1)
    top.add_argument("--save", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    return top


def trace_all(options: argparse.Namespace) -> int:
    if unknown := [name for name in options.names if name not in CURVES]:
        raise BenchmarkError(f"no curve named {unknown[0]!r}; there are {', '.join(CURVES)}")
    allow_descriptors()
    build()
    print_machine()
    for name in options.names or CURVES:
        subjects = subjects_from(options.server, (*ONE_TOPIC, "fastpubsub", "rivals"))
        subjects = [subject for subject in subjects if subject.name not in CURVES[name].without]
        runs = trace(name, CURVES[name], subjects, rounds=options.rounds)
        save(options.save / f"curve-{name}.json", name, subjects, runs)
    return 0


if __name__ == "__main__":
    sys.exit(end("benchmarks", lambda: trace_all(parser().parse_args())))

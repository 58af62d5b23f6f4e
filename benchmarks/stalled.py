"""What does one subscriber in a hundred that never reads cost the server, and the others?

What would make it lie: a run shorter than the server's patience with the stalled, or a rate that the others cannot
take (both are then told by the departures and the latency); the kernel's buffers, which take the first megabytes for
each stalled reader without the server's knowing; memory that went back to the allocator but not to the system (that
counts as held here).
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import heading, print_table, spread
from benchmarks.harness import Load, Server, Subject

__all__ = ["add_options", "run"]

SAMPLE_SECONDS = 0.1
AFTERWARDS_SECONDS = 1.0
SUBSCRIBER_LEFT = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(events="json")
    parser.add_argument("--subscribers", type=int, default=100)
    parser.add_argument("--stalled", type=int, default=1)
    parser.add_argument("--size", type=int, default=16384, help="payload bytes (default: 16384)")
    parser.add_argument("--mib", type=float, default=100, help="to publish, in all (default: 100)")
    # The server's patience is 10 s, and what is published meanwhile must stay under its 64 MiB of lag.
    parser.add_argument("--seconds", type=float, default=20, help="to publish it in (default: 20)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """One run. Memory is the server's Rss in MiB; times are seconds from the first message."""

    before: float
    peak: float
    peak_at: float
    at_end: float
    afterwards: float
    departures: list[float]
    server_cpu_seconds: float
    report: dict[str, Any]


class Departures:
    """Follows the server's events, where it prints them as JSON lines."""

    def __init__(self, server: Server) -> None:
        self._lines = server.output.open()
        self._partial = ""

    def take_count(self) -> int:
        """How many subscribers left since the last time."""
        *lines, self._partial = (self._partial + self._lines.read()).split("\n")
        return sum(1 for line in lines if _is_departure(line))


def _is_departure(line: str) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and event.get("type") == SUBSCRIBER_LEFT


def stalled(subject: Subject, load_arguments: Sequence[str]) -> Stalled:
    with Server(subject) as server:
        departures = Departures(server)
        before = server.memory_kib()["Rss"] / 1024
        with Load(server.port, load_arguments) as load:
            load.report()
            start, cpu = time.monotonic(), server.cpu_seconds()
            samples, left = [(0.0, before)], []
            while (report := load.poll(SAMPLE_SECONDS)) is None:
                seconds = time.monotonic() - start
                samples.append((seconds, server.memory_kib()["Rss"] / 1024))
                left += [seconds] * departures.take_count()
            cpu = server.cpu_seconds() - cpu
        time.sleep(AFTERWARDS_SECONDS)
        peak_at, peak = max(samples, key=lambda sample: sample[1])
        return Stalled(
            before=before,
            peak=peak,
            peak_at=peak_at,
            at_end=samples[-1][1],
            afterwards=server.memory_kib()["Rss"] / 1024,
            departures=left,
            server_cpu_seconds=cpu,
            report=report,
        )


def run(options: argparse.Namespace, subjects: Sequence[Subject]) -> None:
    messages = max(1, round(options.mib * (1 << 20) / options.size))
    arguments = ["--subscribers", str(options.subscribers), "--stalled", str(options.stalled)]
    arguments += ["--messages", str(messages), "--size", str(options.size), "--rate", f"{messages / options.seconds:g}"]
    heading("stalled", [*(subject.command for subject in subjects), ["load", *arguments]])
    runs: dict[str, list[Stalled]] = {subject.name: [] for subject in subjects}
    for _ in range(options.rounds):
        for subject in subjects:
            runs[subject.name].append(stalled(subject, arguments))
    print_runs(runs)


def print_runs(runs: dict[str, list[Stalled]]) -> None:
    rows = []
    for name, ones in runs.items():
        reports = [one.report for one in ones]
        wrong = sum(report[key] for report in reports for key in ("lost", "duplicated", "reordered", "malformed"))
        rows.append(
            [
                name,
                *(spread([getattr(one, key) for one in ones], ".1f") for key in ("before", "peak", "peak_at")),
                *(spread([getattr(one, key) for one in ones], ".1f") for key in ("at_end", "afterwards")),
                spread([report["p50_us"] for report in reports]),
                spread([report["p99_us"] for report in reports]),
                str(wrong),
                str(sum(report["stalled_gone"] for report in reports)),
                spread([time for one in ones for time in one.departures], ".1f"),
            ]
        )
    head = ["server", "MiB before", "peak", "at s", "at the end", "1 s later", "p50 us", "p99 us", "lost or wrong"]
    print_table([*head, "stalled gone", "departures at s"], rows)

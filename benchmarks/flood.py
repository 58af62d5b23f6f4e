"""How many deliveries a second, and at what CPU each, when publishers send as fast as the server lets them?

What would make it lie: a server that is not the bottleneck (its rate counts only when it was at least 97 % busy for
at least 3 s; its CPU per delivery always counts); a server that drops (the load checks every number of every
subscriber, and a run with a loss counts for nothing); other work on the server's core ("no CPU": how long it was
ready to run and could not); a clock that stops when the last byte was sent (it stops when it was received). At a high
rate a delivery is a few nanoseconds of copying: caches and the kernel's version matter more than the program.
"""

import argparse
import dataclasses
from collections.abc import Sequence

from benchmarks.figures import heading, paired_ratio, print_table, spread
from benchmarks.harness import BenchmarkError, Load, Server, Subject

__all__ = ["add_options", "run"]

BUSY = 0.97
LONG_ENOUGH_SECONDS = 3.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--publishers", type=int, default=1)
    # Bare C takes 2 s for 100,000 x 1,000 on the machine this was written on.
    parser.add_argument("--messages", type=int, default=200_000, help="of each publisher (default: 200000)")
    parser.add_argument("--size", type=int, default=128, help="payload bytes (default: 128)")
    parser.add_argument("--rate", type=float, default=0, help="messages a second; 0: unthrottled (default)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """One run."""

    seconds: float
    deliveries: int
    server_cpu_seconds: float
    waited: float
    load_busy: float
    rss_kib: int
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        return self.deliveries / self.seconds

    @property
    def cpu_ns(self) -> float:
        return self.server_cpu_seconds * 1e9 / self.deliveries

    @property
    def busy(self) -> float:
        return self.server_cpu_seconds / self.seconds

    @property
    def counts(self) -> bool:
        return self.busy >= BUSY and self.seconds >= LONG_ENOUGH_SECONDS


def flood(subject: Subject, load_arguments: Sequence[str]) -> Flood:
    with Server(subject) as server, Load(server.port, load_arguments) as load:
        load.report()
        cpu_before, waited_before = server.cpu_seconds(), server.waited_seconds()
        report = load.report()
        cpu_seconds, waited = server.cpu_seconds() - cpu_before, server.waited_seconds() - waited_before
        memory = server.memory_kib()
    wrong = {key: report[key] for key in ("lost", "duplicated", "reordered", "malformed", "departed") if report[key]}
    if wrong:
        raise BenchmarkError(f"{subject.name}: {wrong}, closed with {report['close_code']}")
    return Flood(
        seconds=report["seconds"],
        deliveries=report["deliveries"],
        server_cpu_seconds=cpu_seconds,
        waited=waited / report["seconds"],
        load_busy=report["load_busy"],
        rss_kib=memory["Rss"],
        p50_us=report["p50_us"],
        p99_us=report["p99_us"],
    )


def run(options: argparse.Namespace, subjects: Sequence[Subject]) -> None:
    arguments = ["--idle", "0.3"]
    for name in ("subscribers", "publishers", "messages", "size", "rate"):
        arguments += [f"--{name}", f"{getattr(options, name):g}" if name == "rate" else str(getattr(options, name))]
    heading("flood", [*(subject.command for subject in subjects), ["load", *arguments]])
    runs: dict[str, list[Flood]] = {subject.name: [] for subject in subjects}
    for _ in range(options.rounds):
        for subject in subjects:
            runs[subject.name].append(flood(subject, arguments))
    print_runs(runs, reference=subjects[0].name, paced=options.rate > 0)


def print_runs(runs: dict[str, list[Flood]], *, reference: str, paced: bool) -> None:
    first = runs[reference]
    rows = []
    for name, floods in runs.items():
        counting = [one for one in floods if one.counts]
        pairs = [(one, other) for one, other in zip(floods, first, strict=True) if one.counts and other.counts]
        rows.append(
            [
                name,
                f"{len(counting)} of {len(floods)}",
                spread([one.rate for one in counting]),
                paired_ratio([one.rate for one, _ in pairs], [other.rate for _, other in pairs]),
                spread([one.cpu_ns for one in floods], ".1f"),
                paired_ratio([one.cpu_ns for one in floods], [one.cpu_ns for one in first]),
                spread([one.seconds for one in floods], ".2f"),
                spread([100 * one.busy for one in floods]),
                spread([100 * one.waited for one in floods]),
                spread([100 * one.load_busy for one in floods]),
                spread([one.rss_kib / 1024 for one in floods], ".1f"),
            ]
        )
    head = ["server", "counts", "deliveries/s", f"to {reference}", "CPU ns each", f"to {reference}", "seconds"]
    print_table([*head, "server busy %", "no CPU %", "load busy %", "RSS MiB"], rows)
    if paced:
        print_table(
            ["latency", "p50 us", "p99 us"],
            [
                [name, spread([one.p50_us for one in floods]), spread([one.p99_us for one in floods])]
                for name, floods in runs.items()
            ],
        )

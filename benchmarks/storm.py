"""How many WebSocket upgrades a second, when many clients come at once?

What would make it lie: a load that cannot keep the server busy (both sides' CPU is given); a window so wide that the
backlog overflows and clients wait for a retransmission (64 by default); TLS and distance, which are not in it; ports
left in TIME_WAIT by the run before (the kernel takes them again on loopback, at a little cost).
"""

import argparse
import dataclasses
from collections.abc import Sequence

from benchmarks.figures import heading, paired_ratio, print_table, spread
from benchmarks.harness import Load, Server, Subject

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--window", type=int, default=64, help="upgrades under way at a time (default: 64)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """One run."""

    rate: float
    server_cpu_us: float
    server_busy: float
    load_busy: float


def storm(subject: Subject, load_arguments: Sequence[str]) -> Storm:
    with Server(subject) as server:
        before = server.cpu_seconds()
        with Load(server.port, load_arguments) as load:
            report = load.report()
            cpu_seconds = server.cpu_seconds() - before
            load.stop()
    return Storm(
        rate=report["upgrades_per_second"],
        server_cpu_us=cpu_seconds * 1e6 / report["connections"],
        server_busy=cpu_seconds / report["connect_seconds"],
        load_busy=report["load_cpu_seconds"] / report["connect_seconds"],
    )


def run(options: argparse.Namespace, subjects: Sequence[Subject]) -> None:
    arguments = ["--subscribers", str(options.subscribers), "--publishers", "0", "--messages", "0", "--idle", "60"]
    arguments += ["--window", str(options.window)]
    heading("storm", [*(subject.command for subject in subjects), ["load", *arguments]])
    runs: dict[str, list[Storm]] = {subject.name: [] for subject in subjects}
    for _ in range(options.rounds):
        for subject in subjects:
            runs[subject.name].append(storm(subject, arguments))
    first = [one.rate for one in runs[subjects[0].name]]
    rows = [
        [
            name,
            spread([one.rate for one in storms]),
            paired_ratio([one.rate for one in storms], first),
            spread([one.server_cpu_us for one in storms], ".1f"),
            spread([100 * one.server_busy for one in storms]),
            spread([100 * one.load_busy for one in storms]),
        ]
        for name, storms in runs.items()
    ]
    head = ["server", "upgrades/s", f"to {subjects[0].name}", "CPU us each", "server busy %", "load busy %"]
    print_table(head, rows)

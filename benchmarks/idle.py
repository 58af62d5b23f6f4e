"""How much user-space memory does an idle subscriber cost?

What would make it lie: what a server loads once, at its first client, and not for each (one client comes and goes
before the first reading); file pages, whose share changes with who else maps them (own memory is anonymous and shared
memory only; Pss and Rss are given beside it); the kernel's half, which is not in it, and is the same for every
server; memory that a server takes with the first message (none is sent); an allocator that keeps what the upgrades
needed for a moment: that is the server's cost, and counted.
"""

import argparse
import time
from collections.abc import Sequence

from benchmarks.figures import heading, paired_ratio, print_table, spread
from benchmarks.harness import Load, Server, Subject

__all__ = ["add_options", "run"]

SETTLE_SECONDS = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscribers", type=int, default=10_000)


def idle(subject: Subject, subscribers: int) -> dict[str, float]:
    """KiB for each subscriber, and the whole before and after."""
    with Server(subject) as server:
        with Load(server.port, ["--subscribers", "1", "--publishers", "1", "--messages", "0"]) as load:
            load.report()
        time.sleep(SETTLE_SECONDS)
        before = server.memory_kib()
        arguments = ["--subscribers", str(subscribers), "--publishers", "0", "--messages", "0", "--idle", "60"]
        with Load(server.port, arguments) as load:
            load.report()
            time.sleep(SETTLE_SECONDS)
            after = server.memory_kib()
            load.stop()
    figures = {key: (after[key] - before[key]) / subscribers for key in after}
    return {**figures, "before": before["Rss"] / 1024, "after": after["Rss"] / 1024}


def run(options: argparse.Namespace, subjects: Sequence[Subject]) -> None:
    heading(f"idle: {options.subscribers} subscribers", [subject.command for subject in subjects])
    runs: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in subjects}
    for _ in range(options.rounds):
        for subject in subjects:
            runs[subject.name].append(idle(subject, options.subscribers))
    first = runs[subjects[0].name]
    rows = []
    for name, figures in runs.items():
        columns = {key: [one[key] for one in figures] for key in figures[0]}
        rows.append(
            [
                name,
                *(spread(columns[key], ".2f") for key in ("Own", "Pss", "Rss")),
                paired_ratio(columns["Own"], [one["Own"] for one in first]),
                spread(columns["before"], ".1f"),
                spread(columns["after"], ".1f"),
            ]
        )
    head = ["server", "KiB each (own)", "Pss", "Rss", f"to {subjects[0].name}", "Rss MiB before", "after"]
    print_table(head, rows)

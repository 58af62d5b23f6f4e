"""``python -m benchmarks.uring [options]``: would io_uring save the server CPU? The rounds of ``benchmarks/uring.c``.

    send, send again    a loop of send(), and once more: how far apart two runs of the same are
    plain               one message's sends in one io_uring_enter()
    coop, defer         the kernel finishes them when it is entered (COOP_TASKRUN), or when it is asked (DEFER_TASKRUN)
    defer+files+skip    besides, the sockets are registered and only a send that fails is told of

Every round runs all modes, in an order of its own; a ratio is to `send` in the same round, of the process and the
kernel's thread for soft interrupts together. Given are medians, and the least and the greatest. What would make it lie
stands in ``uring.c``; what it has found, in ``docs/benchmarks.md``.
"""

import argparse
import json
import platform
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.figures import print_machine, print_table, spread
from benchmarks.harness import BenchmarkError, allow_descriptors, compiled, end
from pubsub.bench.screen import machine

__all__ = ["MODES", "Cost", "Load", "Refused", "main", "measure"]

REFERENCE: Final = "send"
AGAIN: Final = "send again"
MODES: Final = (REFERENCE, AGAIN, "plain", "coop", "defer", "defer+files+skip")
# Beside the seconds of a run: connecting 19,000 takes some, and the program gives up by itself after 20.
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    subscribers: int
    rate: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a delivery."""

    cpu_ns: float
    softirq_ns: float
    reader_ns: float

    @property
    def server_ns(self) -> float:
        return self.cpu_ns + self.softirq_ns


Round = Mapping[str, Cost]


class Refused(Exception):
    """The kernel's answer to a mode, in the program's words."""


def measure(program: Path, mode: str, load: Load) -> Cost:
    """One run. Raises Refused, or BenchmarkError when something did not arrive."""
    name = REFERENCE if mode == AGAIN else mode
    command = [str(program), name, str(load.subscribers), str(load.rate), str(load.seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=load.seconds + PATIENCE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{mode}: not done after {error.timeout:g} s") from error
    if done.returncode:
        raise BenchmarkError(f"{mode}: {done.stderr.strip() or done.returncode}")
    if done.stdout.startswith("refused"):
        raise Refused(done.stdout.strip())
    words = done.stdout.split()
    return Cost(**dict(zip(words[::2], map(float, words[1::2]), strict=True)))


def accepted(program: Path) -> list[str]:
    """The modes that this kernel takes; why it does not take others is printed, once for each reason."""
    modes, reasons = [], []
    for mode in MODES:
        try:
            measure(program, mode, Load(subscribers=2, rate=100, seconds=0.02))
        except Refused as reason:
            reasons.append(str(reason))
        else:
            modes.append(mode)
    for text in dict.fromkeys(reasons):
        print(text)
    return modes


def rounds(program: Path, modes: Sequence[str], load: Load, *, count: int) -> list[Round]:
    found: list[Round] = []
    for _ in range(count):
        costs: dict[str, Cost] = {}
        for mode in random.sample(modes, len(modes)):
            try:
                costs[mode] = measure(program, mode, load)
            except BenchmarkError as error:
                # The others are still worth measuring.
                print(f"  left out of a round: {error}", file=sys.stderr)
        found.append(costs)
    return found


def rows(modes: Sequence[str], found: Sequence[Round]) -> list[list[str]]:
    table = []
    for mode in modes:
        costs = [costs[mode] for costs in found if mode in costs]
        pairs = [(costs[mode], costs[REFERENCE]) for costs in found if mode in costs and REFERENCE in costs]
        table.append(
            [
                mode,
                spread([cost.server_ns for cost in costs]),
                "1" if mode == REFERENCE else spread([a.server_ns / b.server_ns for a, b in pairs], ".2f"),
                spread([cost.cpu_ns for cost in costs]),
                spread([cost.softirq_ns for cost in costs]),
                spread([cost.reader_ns for cost in costs]),
            ]
        )
    return table


def save(path: Path, load: Load, found: Sequence[Round]) -> None:
    document = {
        "benchmark": "uring",
        "machine": machine(),
        "architecture": platform.machine(),
        "load": asdict(load),
        "rounds": [{mode: asdict(cost) for mode, cost in costs.items()} for costs in found],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.uring", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--rounds", type=int, default=8)
    top.add_argument("--subscribers", type=int, default=1000)
    top.add_argument("--rate", type=int, default=100, help="messages a second (default: 100)")
    top.add_argument("--seconds", type=float, default=1.5, help="of each run (default: 1.5)")
    top.add_argument("--save", type=Path, metavar="FOLDER", help="keeps every run in FOLDER/uring.json")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    load = Load(subscribers=options.subscribers, rate=options.rate, seconds=options.seconds)
    allow_descriptors()
    program = compiled("uring", ["uring.c"])
    print_machine()
    modes = accepted(program)
    if modes == [REFERENCE, AGAIN]:
        return 0
    found = rounds(program, modes, load, count=options.rounds)
    print(f"{load.subscribers:,} subscribers, {load.rate:,} messages a second; server CPU of a delivery, in ns")
    if not any(cost.softirq_ns for costs in found for cost in costs.values()):
        print("the kernel's thread for soft interrupts is not to be seen here: its CPU is missing")
    print_table(["mode", "server", f"to {REFERENCE}", "its process", "soft interrupts", "reader"], rows(modes, found))
    if options.save:
        save(options.save / "uring.json", load, found)
    return 0


if __name__ == "__main__":
    sys.exit(end("benchmarks.uring", main))

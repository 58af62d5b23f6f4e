"""Prints the machine and tables; medians, spreads, and the interval of a paired ratio."""

import math
import os
import platform
import statistics
from collections.abc import Sequence
from typing import Final

from benchmarks.harness import LOAD_CPU, SERVER_CPU
from pubsub.bench.screen import machine

__all__ = ["heading", "interval", "paired_ratio", "print_machine", "print_table", "spread"]

# Student's t for 95 %, two-sided, by degrees of freedom from 1 (any table of it); beyond, the normal distribution's.
T_95: Final = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)
NORMAL_95: Final = 1.96


def print_machine() -> None:
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(machine())
    print(f"server on CPU {SERVER_CPU}, load on CPU {LOAD_CPU}; load average at the start {load}; {platform.machine()}")


def heading(title: str, lines: Sequence[str]) -> None:
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median, and the least and the greatest where there are several."""
    if not values:
        return "-"
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} [{format(min(values), form)} .. {format(max(values), form)}]"


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Where the ratio's geometric mean lies with 95 %; ratios are taken to be spread evenly on a logarithmic scale."""
    logs = [math.log(ratio) for ratio in ratios]
    free = len(logs) - 1
    t = T_95[free - 1] if free <= len(T_95) else NORMAL_95
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    mean = statistics.fmean(logs)
    return math.exp(mean - half), math.exp(mean + half)


def paired_ratio(values: Sequence[float | None], reference: Sequence[float | None]) -> str:
    """Of runs made next to each other, so that what slowed one probably slowed the other, with its 95 % interval."""
    ratios = [a / b for a, b in zip(values, reference, strict=False) if a and b]
    if not ratios:
        return "-"
    middle = f"{math.exp(statistics.fmean(map(math.log, ratios))):.3f} x"
    if len(ratios) == 1:
        return middle
    low, high = interval(ratios)
    return f"{middle} [{low:.3f} .. {high:.3f}]"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip())

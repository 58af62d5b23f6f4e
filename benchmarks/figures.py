"""Prints the machine, tables, medians and paired ratios."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import LOAD_CPU, SERVER_CPU

__all__ = ["heading", "paired_ratio", "print_machine", "print_table", "spread"]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def print_machine() -> None:
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{_cpu_model()}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}")
    print(f"server on CPU {SERVER_CPU}, load on CPU {LOAD_CPU}; load average at the start {load}")


def heading(title: str, commands: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}")
    for command in commands:
        print(f"  $ {' '.join(command)}")


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median, and the least and the greatest where there are several."""
    if not values:
        return "-"
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} [{format(min(values), form)} .. {format(max(values), form)}]"


def paired_ratio(values: Sequence[float], reference: Sequence[float]) -> str:
    """Of runs made next to each other, so that what slowed one probably slowed the other."""
    pairs = [a / b for a, b in zip(values, reference, strict=False) if b]
    return f"{spread(pairs, '.3f')} x" if pairs else "-"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip())

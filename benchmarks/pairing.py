"""What a benchmark is: a workload, the servers it is run against in turn, and what is printed of it."""

import json
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import heading, paired_ratio, print_table, spread
from benchmarks.harness import BenchmarkError, Subject, counted, measure
from benchmarks.subjects import OURS
from fastfan.load import Plan
from pubsub.bench.outcome import BUSY, Outcome, Workload
from pubsub.bench.screen import machine

__all__ = ["Bench", "Column", "Variant", "run", "save"]

LONG_ENOUGH_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A figure of a run. One that is `paired` is also shown as the ratio to the reference's."""

    head: str
    value: Callable[[Outcome], float | None]
    form: str = ",.0f"
    paired: bool = False
    moved: bool = False  # also shown as the difference to the reference's
    spread: bool = True  # the least and the greatest beside the median
    of_busy_runs: bool = False  # means nothing unless the server was the bottleneck for long enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way of running a benchmark; of several, the first is what the others are compared with, for each server."""

    name: str = ""
    change: Callable[[Plan], Plan] = field(default=lambda plan: plan)
    flags: tuple[str, ...] = ()  # behind the server's command
    flood: Callable[[], Plan | None] = field(default=lambda: None)  # of another load, meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The docstring of the module it stands in asks the question."""

    workload: Workload
    columns: tuple[Column, ...]
    variants: tuple[Variant, ...] = (Variant(),)
    subjects: tuple[str, ...] = OURS
    without: tuple[str, ...] = ()  # that cannot do it
    by_point: bool = False  # its variants are points of a curve: each is compared with the first server's
    goes_first: bool = False  # its load, before all others of its core
    alone: bool = False  # its variants are of its own subjects; no other can be asked the question


Runs = dict[tuple[str, str], list[Outcome]]


def counts(outcome: Outcome) -> bool:
    """Whether its rate says something of the server."""
    busy, report = outcome.server_busy or 0.0, outcome.report
    seconds = report.connect_seconds if outcome.workload.is_storm else report.publish_seconds
    return outcome.is_intact and busy >= BUSY and seconds >= LONG_ENOUGH_SECONDS


def run(title: str, bench: Bench, plan: Plan, subjects: Sequence[Subject], *, rounds: int) -> Runs:
    """Runs of every server and variant in turn, so that what slows one slows its neighbours too."""
    heading(title, [f"{subject.name}: {subject.version or ' '.join(subject.command)}" for subject in subjects])
    runs: Runs = {(subject.name, variant.name): [] for subject in subjects for variant in bench.variants}
    plans: dict[tuple[str, str], Workload] = {}  # made by the first round
    for _ in range(rounds):
        for subject, variant in _turns(bench, subjects):
            if (subject.name, variant.name) in runs:
                _run_once(bench, plan, subject, variant, runs, plans)
    _print(bench, runs)
    return runs


def _turns(bench: Bench, subjects: Sequence[Subject]) -> list[tuple[Subject, Variant]]:
    """Who is compared with whom comes next to each other."""
    if bench.by_point:
        return [(subject, variant) for variant in bench.variants for subject in subjects]
    return [(subject, variant) for subject in subjects for variant in bench.variants]


def _run_once(
    bench: Bench, plan: Plan, subject: Subject, variant: Variant, runs: Runs, plans: dict[tuple[str, str], Workload]
) -> None:
    key = (subject.name, variant.name)
    command = replace(subject, command=(*subject.command, *variant.flags))
    try:
        if key not in plans:
            plans[key] = counted(command, replace(bench.workload, plan=variant.change(plan)))
        outcome = measure(command, plans[key], flood=variant.flood(), goes_first=bench.goes_first)
        runs[key].append(outcome)
    except BenchmarkError as error:
        # The others are still worth measuring.
        print(f"  left out: {error}", file=sys.stderr)
        del runs[key]


def _print(bench: Bench, runs: Runs) -> None:
    if not runs:
        raise BenchmarkError("no server could be measured")
    rows = []
    servers = list(dict.fromkeys(name for name, _ in runs))
    by_server = bench.by_point or len(bench.variants) == 1
    for name, variant in sorted(runs, key=lambda key: _row(bench, servers, key)):
        outcomes = runs[name, variant]
        reference = runs.get((servers[0], variant) if by_server else (name, bench.variants[0].name), [])
        beside = f"{name}, {variant}" if variant else name
        rows.append([beside, *_cells(bench, outcomes, reference)])
    to = servers[0] if by_server else bench.variants[0].name
    heads: list[str] = []
    for column in bench.columns:
        heads += [column.head, *([f"to {to}"] if column.paired else []), *(["moved by"] if column.moved else [])]
    print_table(["server", *heads, "lost or wrong"], rows)


def _row(bench: Bench, servers: Sequence[str], key: tuple[str, str]) -> tuple[int, int]:
    """The place of a row: rows that are compared with each other stand together."""
    variants = [variant.name for variant in bench.variants]
    server, variant = servers.index(key[0]), variants.index(key[1])
    return (variant, server) if bench.by_point else (server, variant)


def _cells(bench: Bench, outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> list[str]:
    cells = []
    for column in bench.columns:
        values = [_value(column, outcome) for outcome in outcomes]
        known = [value for value in values if value is not None]
        cells.append(spread(known if column.spread or not known else [statistics.median(known)], column.form))
        if column.paired:
            beside = [_value(column, outcome) for outcome in reference]
            cells.append("1" if outcomes is reference else paired_ratio(values, beside))
        if column.moved:
            beside = [_value(column, outcome) for outcome in reference]
            moved = [a - b for a, b in zip(values, beside, strict=False) if a is not None and b is not None]
            cells.append("-" if outcomes is reference else spread(moved, f"+{column.form}"))
    return [*cells, _wrong(outcomes)]


def _value(column: Column, outcome: Outcome) -> float | None:
    return None if column.of_busy_runs and not counts(outcome) else column.value(outcome)


def _wrong(outcomes: Sequence[Outcome]) -> str:
    """The median of what was wrong in a run, in words."""
    parts = []
    for name in ("lost", "duplicated", "reordered", "malformed", "departed"):
        count = statistics.median([getattr(outcome.report, name) for outcome in outcomes])
        if any(getattr(outcome.report, name) for outcome in outcomes):
            parts.append(f"{count:,.0f} {name}")
    return ", ".join(parts) or "nothing"


def save(path: Path, title: str, subjects: Sequence[Subject], runs: Runs) -> None:
    """What docs/benchmarks.md is made from."""
    document: dict[str, Any] = {
        "benchmark": title,
        "machine": machine(),
        "architecture": platform.machine(),
        "subjects": {subject.name: {"version": subject.version, "how": subject.how} for subject in subjects},
        "runs": [
            {"subject": name, "variant": variant, **outcome.to_dict(), "counts": counts(outcome)}
            for (name, variant), outcomes in runs.items()
            for outcome in outcomes
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")

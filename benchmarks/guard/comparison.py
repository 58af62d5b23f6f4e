"""Baselines, and what counts say beside one.

The engine's own count and the whole are judged apart: a tenth more in the engine is lost among the interpreter's
instructions, and what the engine makes others do (one more copy, an object made) is not in its own.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.guard.counting import Count
from benchmarks.guard.environment import Environment

__all__ = ["Baseline", "Line", "Verdict", "compare", "exact", "load", "nearest", "rows", "save", "verdict"]

SMALLEST: Final = 1.0  # an instruction for each time: less is rounding, whatever the percentage


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was counted in one environment."""

    environment: Environment
    surroundings: str
    counts: Mapping[str, Count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One operation, before and now; one of them is missing where it is new, or gone."""

    name: str
    before: Count | None
    now: Count | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is beyond the margin, in words: for the worse, and for the better."""

    worse: Sequence[str]
    better: Sequence[str]


# -- The file ------------------------------------------------------------------------------------------------------


def load(path: Path) -> list[Baseline]:
    if not path.exists():
        return []
    return [
        Baseline(
            environment=Environment(**entry["environment"]),
            surroundings=entry["surroundings"],
            counts={name: Count(**counted) for name, counted in entry["counts"].items()},
        )
        for entry in json.loads(path.read_text())
    ]


def save(path: Path, baselines: Sequence[Baseline], new: Baseline) -> None:
    """Keeps those of other environments."""
    kept = [each for each in baselines if each.environment != new.environment]
    entries = [dataclasses.asdict(each) for each in sorted([*kept, new], key=lambda each: str(each.environment))]
    path.write_text(json.dumps(entries, indent=2) + "\n")


def exact(baselines: Sequence[Baseline], environment: Environment) -> Baseline | None:
    return next((each for each in baselines if each.environment == environment), None)


def nearest(baselines: Sequence[Baseline], environment: Environment) -> Baseline | None:
    """The one of this kind of machine, if any, that has most in common; None when there are no baselines at all."""
    wanted = dataclasses.astuple(environment)

    def alike(baseline: Baseline) -> tuple[bool, int]:
        pairs = zip(dataclasses.astuple(baseline.environment), wanted, strict=True)
        return baseline.environment.machine == environment.machine, sum(one == other for one, other in pairs)

    return max(baselines, key=alike, default=None)


# -- Judging -------------------------------------------------------------------------------------------------------


def compare(before: Mapping[str, Count], now: Mapping[str, Count]) -> list[Line]:
    names = [*now, *(name for name in before if name not in now)]
    return [Line(name=name, before=before.get(name), now=now.get(name)) for name in names]


def verdict(lines: Sequence[Line], *, margin: float, whole: bool = True) -> Verdict:
    """Changes of more than `margin` percent; `whole`: whether more than the engine's own count compares."""
    worse: list[str] = []
    better: list[str] = []
    for line in lines:
        for part, before, now in _parts(line, whole):
            if abs(now - before) > max(SMALLEST, before * margin / 100):
                text = f"{line.name}: {part} {before:,.1f} -> {now:,.1f} instructions ({change(before, now)})"
                (worse if now > before else better).append(text)
    return Verdict(worse=worse, better=better)


def _parts(line: Line, whole: bool) -> Iterator[tuple[str, float, float]]:
    if line.before and line.now:
        yield "the engine", line.before.engine, line.now.engine
        if whole:
            yield "the whole", line.before.whole, line.now.whole


# -- Printing ------------------------------------------------------------------------------------------------------


def change(before: float, now: float) -> str:
    return f"{(now / before - 1) * 100:+.1f} %" if before else "-"


def rows(lines: Sequence[Line]) -> list[list[str]]:
    """Operation, then baseline, now and change of the engine, and of the whole."""
    return [[line.name, *_cells(line, "engine"), *_cells(line, "whole")] for line in lines]


def _cells(line: Line, part: str) -> list[str]:
    before = getattr(line.before, part, None)
    now = getattr(line.now, part, None)
    numbers = ["-" if number is None else f"{number:,.1f}" for number in (before, now)]
    if before is None:
        return [*numbers, "new"]
    return [*numbers, "gone" if now is None else change(before, now)]

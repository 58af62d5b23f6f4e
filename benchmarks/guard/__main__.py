"""``python -m benchmarks.guard``: counts, compares with baseline.json, and fails beyond the margin."""

import argparse
import sys
from pathlib import Path
from typing import Final

from benchmarks.figures import print_table
from benchmarks.guard.comparison import Baseline, Verdict, compare, exact, load, nearest, rows, save, verdict
from benchmarks.guard.counting import count
from benchmarks.guard.environment import environment_here, surroundings_here
from benchmarks.guard.operations import NOTHING, OPERATIONS
from benchmarks.harness import end

BASELINE: Final = Path(__file__).with_name("baseline.json")
# Percent. Runs differ by 0.0 in the engine and by at most 0.1 in the whole, on a machine with other work on all its
# CPUs and from clones in other folders; the rest is for what a compiler of the same major version may do otherwise.
MARGIN: Final = 3.0
HEAD: Final = ["instructions each time", "engine before", "now", "change", "whole before", "now", "change"]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    top.add_argument("--update", action="store_true", help="what is counted now becomes the baseline here")
    top.add_argument("--margin", type=float, default=MARGIN, help="percent more that fail (default: %(default)g)")
    return top


def guard(*, update: bool, margin: float) -> int:
    """The exit code."""
    environment, surroundings = environment_here(), surroundings_here()
    print(f"{environment}\n{surroundings}")
    baselines = load(BASELINE)
    known = exact(baselines, environment)
    beside = known or nearest(baselines, environment)
    now = count([name for name in OPERATIONS if name != NOTHING])
    lines = compare(beside.counts if beside else {}, now)
    print_table(HEAD, rows(lines))
    if update:
        save(BASELINE, baselines, Baseline(environment=environment, surroundings=surroundings, counts=now))
        print(f"{BASELINE.name} has them now")
        return 0
    if known is None:
        other = f"; shown beside that of {beside.environment}" if beside else ""
        print(f"not judged: there is no baseline for this environment{other} (--update makes one)")
        return 0
    if known.surroundings != surroundings:
        print(f"the whole is not judged: its baseline was counted with {known.surroundings}")
    return report(verdict(lines, margin=margin, whole=known.surroundings == surroundings), margin)


def report(found: Verdict, margin: float) -> int:
    for text in found.better:
        print(f"less: {text}; --update, so that nobody loses it again unseen")
    for text in found.worse:
        print(f"MORE: {text}")
    print(f"beyond the margin of {margin:g} %: {len(found.worse)} worse, {len(found.better)} better")
    return 1 if found.worse else 0


def main() -> int:
    options = parser().parse_args()
    return end("bench-guard", lambda: guard(update=options.update, margin=options.margin))


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.engine [NAME ...] [options]``: the engine's own figures beside bare C, all in one run."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.engine import CURVES, append
from benchmarks.figures import print_machine
from benchmarks.harness import BenchmarkError, allow_descriptors, build, end
from benchmarks.pairing import Bench, run, save
from benchmarks.subjects import subjects_from
from pubsub.bench.screen import machine

APPEND: Final = "append"
APPEND_ROUNDS: Final = 200
QUICK_SECONDS: Final = 0.5
RESULTS: Final = Path(__file__).parent.parent / "results"


def parser() -> argparse.ArgumentParser:
    modules = {APPEND: append, **CURVES}
    questions = "\n".join(f"  {name:<12} {str(module.__doc__).splitlines()[0]}" for name, module in modules.items())
    top = argparse.ArgumentParser(
        prog="python -m benchmarks.engine",
        description=f"Questions:\n{questions}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    top.add_argument("--server", action="append", default=[], metavar="SERVER", help="as `python -m benchmarks` has it")
    top.add_argument("--rounds", type=int, help="interleaved runs of each server (default: 3, and 1 with --quick)")
    top.add_argument("--quick", action="store_true", help="few points, half a second each: shows that it works")
    top.add_argument(
        "--save", type=Path, metavar="FOLDER", help="default: benchmarks/results, and nowhere with --quick"
    )
    return top


def quick(bench: Bench) -> Bench:
    """Short runs, and every other point, without the last, which takes longest."""
    plan = replace(bench.workload.plan, seconds=QUICK_SECONDS)
    variants = bench.variants[:-1:2]
    return replace(bench, workload=replace(bench.workload, plan=plan), variants=variants)


def measure_all(options: argparse.Namespace) -> int:
    names = options.names or [APPEND, *CURVES]
    if unknown := [name for name in names if name != APPEND and name not in CURVES]:
        raise BenchmarkError(f"no question named {unknown[0]!r}; there are {', '.join([APPEND, *CURVES])}")
    options.rounds = options.rounds or (1 if options.quick else 3)
    folder = options.save or (None if options.quick else RESULTS)
    allow_descriptors()
    build()
    print_machine()
    for name in names:
        if name == APPEND:
            _measure_append(options, folder)
        else:
            _measure_curve(name, options, folder)
    return 0


def _measure_append(options: argparse.Namespace, folder: Path | None) -> None:
    sizes = append.SIZES[::2] if options.quick else append.SIZES
    rows = append.measure(sizes, turns=options.rounds, rounds=APPEND_ROUNDS)
    append.print_rows(rows)
    if folder:
        document = {"benchmark": "engine-append", "machine": machine(), "rows": rows}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "engine-append.json").write_text(json.dumps(document, indent=1) + "\n")


def _measure_curve(name: str, options: argparse.Namespace, folder: Path | None) -> None:
    bench: Bench = quick(CURVES[name].BENCH) if options.quick else CURVES[name].BENCH
    subjects = subjects_from(options.server, bench.subjects)
    runs = run(name, bench, bench.workload.plan, subjects, rounds=options.rounds)
    if folder:
        save(folder / f"engine-{name}.json", f"engine-{name}", subjects, runs)


if __name__ == "__main__":
    sys.exit(end("benchmarks.engine", lambda: measure_all(parser().parse_args())))

"""``python -m benchmarks [NAME ...] [options]``: these benchmarks, or all of them with their defaults."""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import print_machine
from benchmarks.harness import BenchmarkError, allow_descriptors, build, end
from benchmarks.pairing import Bench, run, save
from benchmarks.subjects import subjects_from
from benchmarks.workloads import BENCHMARKS
from fastfan.load import Plan

EPILOG: Final = """\
A server is bare_log, bare_send, fastpubsub, a rival's name, `rivals` for all that are installed (make rivals), or
NAME=COMMAND with {port} where its port goes, for example another version:
  --server bare_log --server fastpubsub --server 'old=/tmp/old/bin/fastpubsub serve 127.0.0.1:{port} --events none'
The first server named is the one that the others are compared with. --set changes the workload, as fastfan.load.Plan
has it: --set subscribers=100 --set seconds=10
"""

# Of a Plan, what there is no sense in setting.
_FIXED: Final = {"host", "port", "path", "query", "headers"}


def parser() -> argparse.ArgumentParser:
    questions = "\n".join(f"  {name:<12} {str(module.__doc__).splitlines()[0]}" for name, module in BENCHMARKS.items())
    top = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Benchmarks:\n{questions}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    top.add_argument("--server", action="append", default=[], metavar="SERVER", help="default: bare_log and fastpubsub")
    top.add_argument("--rounds", type=int, default=3, help="interleaved runs of each server (default: 3)")
    top.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="changes the workload")
    top.add_argument("--save", type=Path, metavar="FOLDER", help="keeps every run in FOLDER/NAME.json")
    return top


def changed(plan: Plan, settings: list[str]) -> Plan:
    """The plan with NAME=VALUE settings; the end of a run is `messages` or `seconds`, whichever was set."""
    known = {field.name: field.type for field in fields(Plan) if field.name not in _FIXED}
    values: dict[str, Any] = {}
    for text in settings:
        name, _, value = text.partition("=")
        if name not in known:
            raise BenchmarkError(f"--set {text}: no {name!r}; there are {', '.join(known)}")
        values[name] = _value(str(known[name]), value)
    if "messages" in values:
        values.setdefault("seconds", None)
    return replace(plan, **values)


def _value(kind: str, text: str) -> bool | float | int:
    if "bool" in kind:
        return text == "True"
    return float(text) if "float" in kind else int(text)


def measure_all(options: argparse.Namespace) -> int:
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        raise BenchmarkError(f"no benchmark named {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    allow_descriptors()
    build()
    print_machine()
    for name in options.names or BENCHMARKS:
        bench: Bench = BENCHMARKS[name].BENCH
        subjects = subjects_from([] if bench.alone else options.server, bench.subjects)
        subjects = [subject for subject in subjects if subject.name not in bench.without]
        plan = changed(bench.workload.plan, options.set)
        runs = run(f"{name} {' '.join(options.set)}", bench, plan, subjects, rounds=options.rounds)
        if options.save:
            save(options.save / f"{name}.json", name, subjects, runs)
    return 0


if __name__ == "__main__":
    sys.exit(end("benchmarks", lambda: measure_all(parser().parse_args())))

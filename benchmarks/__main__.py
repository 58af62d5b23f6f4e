"""``python -m benchmarks [NAME] [options]``: one benchmark, or all of them with their defaults."""

import argparse
import sys

from benchmarks import flood, idle, stalled, storm
from benchmarks.figures import print_machine
from benchmarks.harness import BenchmarkError, allow_descriptors, build, subjects_from

BENCHMARKS = {"flood": flood, "idle": idle, "storm": storm, "stalled": stalled}
EPILOG = """\
A server is bare_log, fastpubsub, or NAME=COMMAND with {port} where its port goes, for example another version:
  --server bare_log --server fastpubsub --server 'old=/tmp/old/bin/fastpubsub serve 127.0.0.1:{port} --events none'
The first server named is the one that the others are compared with.
"""


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--server", action="append", metavar="SERVER", help="bare_log, fastpubsub or NAME=COMMAND")
    common.add_argument("--rounds", type=int, default=3, help="interleaved runs of each server (default: 3)")
    common.set_defaults(events="none")
    top = argparse.ArgumentParser(
        prog="python -m benchmarks", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="name", metavar="NAME")
    for name, module in BENCHMARKS.items():
        question = (module.__doc__ or "").splitlines()[0]
        child = commands.add_parser(name, parents=[common], help=question, description=question)
        module.add_options(child)
    return top


def main() -> int:
    arguments = sys.argv[1:]
    if any(flag in arguments for flag in ("-h", "--help")) or (arguments and arguments[0] in BENCHMARKS):
        plans = [parser().parse_args(arguments)]
    else:
        plans = [parser().parse_args([name, *arguments]) for name in BENCHMARKS]
    try:
        allow_descriptors()
        build()
        print_machine()
        for plan in plans:
            BENCHMARKS[plan.name].run(plan, subjects_from(plan.server, events=plan.events))
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

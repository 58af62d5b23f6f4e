"""``python -m benchmarks.guard.where "close"``: which functions the instructions of an operation are in.

Of the round that took the least, as the guard counts. What is under a hundredth is summed up in the last line.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import print_table
from benchmarks.guard.counting import ENGINE, costs, dumps, read_dump
from benchmarks.guard.operations import NOTHING, OPERATIONS
from benchmarks.harness import end

LEAST: Final = 0.01
HEAD: Final = ["function", "of", "instructions each time", "share"]


def functions(text: str) -> Counter[tuple[str, str]]:
    """Instructions of each function itself, by its name and the file of its object."""
    found: Counter[tuple[str, str]] = Counter()
    for thing, function, instructions in costs(text):
        # Cython's names say the module again, and the compiler's say what it made of a function.
        name = re.sub(r"^__pyx_f\w*?_\d+_\w+?_(?=[a-z]+_)|\.(isra|part|constprop)\.\d+$|'\d+$", "", function)
        found[name, Path(thing).name.split(".")[0]] += instructions
    return found


def table(found: Counter[tuple[str, str]], times: int) -> list[list[str]]:
    whole = found.total()
    lines = [(name, thing, count) for (name, thing), count in found.most_common() if count >= LEAST * whole]
    lines.append(("the others", "", whole - sum(count for _, _, count in lines)))
    return [[name, thing, f"{count / times:,.1f}", f"{100 * count / whole:.0f} %"] for name, thing, count in lines]


def show(name: str) -> int:
    rounds = [text for text in dumps([name]) if read_dump(text, ENGINE)[0] == name]
    least = min(rounds, key=lambda text: read_dump(text, ENGINE)[1].engine)
    print_table(HEAD, table(functions(least), OPERATIONS[name].times))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard.where", description=__doc__)
    names = [name for name in OPERATIONS if name != NOTHING]
    parser.add_argument("operation", choices=names, metavar="operation", help="; ".join(names))
    name: str = parser.parse_args(arguments).operation
    return end("where", lambda: show(name))


if __name__ == "__main__":
    sys.exit(main())

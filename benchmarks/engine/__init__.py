"""The engine beside bare C, one question a file; ``make bench-engine`` asks them all in one run."""

from types import ModuleType
from typing import Final

from benchmarks.engine import size, subscribers, threads

__all__ = ["CURVES"]

# Those that are asked over sockets, as the other benchmarks are; append.py needs none.
CURVES: Final[dict[str, ModuleType]] = {
    module.__name__.rpartition(".")[2]: module for module in (subscribers, size, threads)
}

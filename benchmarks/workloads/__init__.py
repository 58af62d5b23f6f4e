"""The benchmarks by name; each file asks a question and says what would make its answer lie."""

from types import ModuleType
from typing import Final

from benchmarks.workloads import (
    everybody,
    fairness,
    flood_large,
    flood_small,
    gil,
    idle,
    ingest,
    mount,
    paced,
    stalled,
    storm,
    topics,
    visitors,
)

__all__ = ["BENCHMARKS"]

BENCHMARKS: Final[dict[str, ModuleType]] = {
    module.__name__.rpartition(".")[2].replace("_", "-"): module
    for module in (
        flood_small,
        flood_large,
        paced,
        everybody,
        ingest,
        idle,
        storm,
        stalled,
        fairness,
        topics,
        gil,
        visitors,
        mount,
    )
}

"""What does a delivery cost, of 16 bytes and of a mebibyte?

To 100 subscribers from a publisher that is not held back: small messages go out many in one system call, large ones in
several, and from some KiB on the kernel's copying is nearly all.

What would make it lie: memory. Who reads a log that still lies in the cache copies at another speed than who reads it
from memory, and how far a log runs ahead depends on the load and the core's cache as well: so each point is compared
with bare C's at that point, in turns. The load copies as much as the server sends; where it is the busier of the two
only CPU counts. Of several I/O threads CPU is the sum; on two cores those that are spread take the load's core.
"""

from collections.abc import Callable
from dataclasses import replace

from benchmarks.columns import CPU_EACH, MEGABYTES, SIDES
from benchmarks.curves import CURVES
from benchmarks.pairing import Bench, Variant
from benchmarks.subjects import ENGINE
from fastfan.load import Plan
from pubsub.bench.outcome import Workload
from pubsub.bench.screen import size_to_text

POINTS = (16, 128, 1 << 10, 8 << 10, 64 << 10, 256 << 10, 1 << 20)


def _of(size: int) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, least_bytes=size, most_bytes=size)


BENCH = Bench(
    workload=Workload(name="engine-size", plan=CURVES["size"].plan(POINTS[0])),
    columns=(CPU_EACH, MEGABYTES, *SIDES),
    variants=tuple(Variant(name=size_to_text(size), change=_of(size)) for size in POINTS),
    subjects=ENGINE,
    by_point=True,
)

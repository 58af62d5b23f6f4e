"""What does a delivery cost, to 10 subscribers and to 19,000?

One message on its way at a time, so nothing is batched: every delivery is a send of its own, and its cost should not
depend on how many others there are.

What would make it lie: what a message costs once (the turn, the publisher's read), which ten share and 10,000 do not
feel, so the first point is the dearest for everybody; caches, which hold the connections of 1,000 and not of 19,000,
for everybody too: so each point is compared with bare C's at that point, in turns. Of several I/O threads CPU is the
sum. On two cores those that are spread take the load's core: a send there wakes nobody on another core, which is dear
on a virtual machine and half of what a lone delivery costs, and so they look cheaper than bare C.
"""

from collections.abc import Callable
from dataclasses import replace

from benchmarks.columns import ANY_RATE, CPU_EACH, EVERYBODY, SIDES
from benchmarks.curves import CURVES
from benchmarks.pairing import Bench, Variant
from benchmarks.subjects import ENGINE
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

POINTS = (10, 100, 1000, 10_000, 19_000)


def _to(count: int) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, subscribers=count)


BENCH = Bench(
    workload=Workload(name="engine-subscribers", plan=CURVES["subscribers"].plan(POINTS[0])),
    columns=(CPU_EACH, ANY_RATE, EVERYBODY, *SIDES),
    variants=tuple(Variant(name=f"{count:,} subscribers", change=_to(count)) for count in POINTS),
    subjects=ENGINE,
    by_point=True,
)

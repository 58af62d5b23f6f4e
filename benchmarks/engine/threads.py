"""What does an I/O thread cost, and what does a second one give?

1,000 subscribers, a flood and a quiet pace: asyncio's loop doing the sending (io0), an I/O thread, two on the same
core, and two on all cores.

What would make it lie: two cores. There is one for the server and one for the load; two threads on one core show what
the second costs, and two threads on both share a core with the load, so the rate is what the three did together, and
less of it may mean that the load had no time. What a second thread gives shows on four cores or more.
"""

from collections.abc import Callable
from dataclasses import replace

from benchmarks.columns import ANY_RATE, CPU_EACH, LATENCY, SIDES
from benchmarks.pairing import Bench, Variant
from benchmarks.subjects import THREADED
from benchmarks.workloads import flood_small, paced
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

FLOOD, PACED = flood_small.BENCH.workload.plan, paced.BENCH.workload.plan


def _at(rate: float) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, rate=rate)


BENCH = Bench(
    workload=Workload(name="engine-threads", plan=replace(FLOOD, seconds=3)),
    columns=(CPU_EACH, ANY_RATE, LATENCY[1], *SIDES),
    variants=(Variant(name="flood", change=_at(0)), Variant(name=f"{PACED.rate:g} a second", change=_at(PACED.rate))),
    subjects=("bare_log", *THREADED),
    by_point=True,
)

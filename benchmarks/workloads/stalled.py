"""What do subscribers that never read cost the others?

One in a hundred never reads, beside a run in which all do. What would make it lie: a rate that the others cannot take
(the latency shows it); the kernel's buffers, which take the first megabytes for each stalled reader without the
server's knowing: so much is published that they are full long before the end.
"""

from dataclasses import replace

from benchmarks.columns import LATENCY, SIDES
from benchmarks.pairing import Bench, Variant
from fastfan.load import Plan
from pubsub.bench.outcome import Workload


def _one_in_a_hundred(plan: Plan) -> Plan:
    return replace(plan, stalled=plan.subscribers // 100)


BENCH = Bench(
    # 500 x 16 KiB a second are 8 MB/s for each: a stalled one's buffers are full within a second.
    workload=Workload(
        name="stalled", plan=Plan(subscribers=100, rate=500, seconds=15, least_bytes=16 << 10, most_bytes=16 << 10)
    ),
    columns=(*LATENCY, *SIDES),
    variants=(Variant(name="none stalled"), Variant(name="1 % stalled", change=_one_in_a_hundred)),
)

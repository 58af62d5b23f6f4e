"""Do subscribers that come and go disturb those that stay, and does anybody miss a message?

Half of the subscribers leave after a second and come back at once, beside a run in which all stay. What would make it
lie: visitors that are not checked (each is: from its first message on it must see every number until it leaves).
"""

from dataclasses import replace

from benchmarks.columns import CPU_EACH, LATENCY, SIDES
from benchmarks.pairing import Bench, Variant
from benchmarks.subjects import ONE_TOPIC
from fastfan.load import Plan
from pubsub.bench.outcome import Workload


def _half(plan: Plan) -> Plan:
    return replace(plan, visitors=plan.subscribers // 2)


BENCH = Bench(
    workload=Workload(name="visitors", plan=Plan(subscribers=1000, rate=100, seconds=5)),
    columns=(*LATENCY, CPU_EACH, *SIDES),
    without=ONE_TOPIC,
    variants=(Variant(name="all stay"), Variant(name="half come and go", change=_half)),
)

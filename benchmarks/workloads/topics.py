"""What does a delivery cost when the same subscribers are spread over many topics?

1,000 topics with ten subscribers and a publisher each, against as many deliveries on one topic. What would make it lie:
batching, which one topic has and a thousand have not: so the rate leaves time to spare, and every message is sent
alone.
"""

from dataclasses import replace

from benchmarks.columns import CPU_EACH, LATENCY, SIDES
from benchmarks.pairing import Bench, Variant
from benchmarks.subjects import ONE_TOPIC
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

SUBSCRIBERS_A_TOPIC = 10


def _many(plan: Plan) -> Plan:
    topics = plan.subscribers // SUBSCRIBERS_A_TOPIC
    return replace(plan, topics=topics, publishers=topics, rate=plan.rate * topics)


BENCH = Bench(
    # 5 messages a second to 10,000, or 5,000 to ten each.
    workload=Workload(name="topics", plan=Plan(subscribers=10_000, rate=5, seconds=5)),
    columns=(CPU_EACH, *LATENCY, *SIDES),
    without=ONE_TOPIC,
    variants=(Variant(name="one topic"), Variant(name="many topics", change=_many)),
)

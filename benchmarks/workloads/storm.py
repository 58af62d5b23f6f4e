"""How many WebSocket upgrades a second, when many clients come at once?

What would make it lie: a load that cannot keep the server busy (both sides' CPU is given); so many under way that the
backlog overflows and clients wait for a retransmission (64 here); TLS and distance, which are not in it; ports left in
TIME_WAIT by the run before (the kernel takes them again on loopback, at a little cost).
"""

from benchmarks.columns import UPGRADES
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(name="storm", plan=Plan(subscribers=10_000, publishers=0, seconds=1), is_storm=True),
    columns=UPGRADES,
)

"""What does a lone message to many cost, and how late is it, at a rate that leaves time to spare?

What would make it lie: latency that counts from when a message was made instead of when it was due (a load that stands
still would hide it); a rate near saturation, where latency is the queue's length and says nothing of the server; a
deep sleep of the CPU between messages, which every server here pays alike.
"""

from benchmarks.columns import CPU_EACH, LATENCY, SIDES
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(name="paced", plan=Plan(subscribers=1000, rate=100, seconds=5)),
    columns=(CPU_EACH, *LATENCY, *SIDES),
)

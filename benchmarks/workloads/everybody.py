"""How long until the last of 10,000 subscribers has a message?

One message is on its way at a time: the next is published when everybody has the one before. What would make it lie:
the load reads while the server sends, on another core, and has to keep up (its share is given); a first round that
finds cold caches (it runs for seconds, and the median counts).
"""

from benchmarks.columns import CPU_EACH, EVERYBODY, SIDES
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(name="everybody", plan=Plan(subscribers=10_000, window=1, seconds=4)),
    columns=(EVERYBODY, CPU_EACH, *SIDES),
)

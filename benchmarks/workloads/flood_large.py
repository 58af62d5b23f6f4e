"""How many deliveries of 64 KiB a second, and at what CPU each, when the publisher is not held back?

What would make it lie: the same as with small messages. Here nearly all is the kernel's copying, so servers are close
to each other, and a server that reads or copies a message once more shows.
"""

from benchmarks.columns import CPU_EACH, RATE, SIDES
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(
        name="flood-large", plan=Plan(subscribers=100, seconds=5, least_bytes=64 << 10, most_bytes=64 << 10)
    ),
    columns=(RATE, CPU_EACH, *SIDES),
)

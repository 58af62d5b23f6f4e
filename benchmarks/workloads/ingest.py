"""What does it cost to take a message, when there is hardly anybody to give it to?

One publisher, one subscriber, not held back: CPU for each message in and out. What would make it lie: a publisher that
sends a message at a time would measure its own system calls (here a buffer holds hundreds, as a busy client's socket
does).
"""

from benchmarks.columns import CPU_EACH, RATE, SIDES
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(workload=Workload(name="ingest", plan=Plan(subscribers=1, seconds=4)), columns=(CPU_EACH, RATE, *SIDES))

"""How many deliveries a second, and at what CPU each, when a publisher of small messages is not held back?

What would make it lie: a server that is not the bottleneck (its rate counts only when it was at least 97 % busy for at
least 3 s; its CPU per delivery always counts); a server that drops (every number of every subscriber is checked, and
the rate of a run with a loss counts for nothing); a clock that stops when the last byte was sent (it stops when it was
received). At a high rate a delivery is a few nanoseconds of copying: caches and the kernel's version matter more than
the program.
"""

from benchmarks.columns import CPU_EACH, RATE, SIDES
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(name="flood-small", plan=Plan(subscribers=1000, seconds=5)), columns=(RATE, CPU_EACH, *SIDES)
)

"""Does a Python program that is busy, or blocked in a call that keeps the GIL, delay deliveries between plain sockets?

The server is embedded in a program of which another thread holds the GIL for a second, every three: asleep, or
spinning. What would make it lie: a program that lets go of the GIL now and then (the switch interval is longer than
the hold); a server that is alone in its process, which the question is not about.
"""

from benchmarks.columns import LATENCY, SIDES
from benchmarks.pairing import Bench, Variant
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(name="gil", plan=Plan(subscribers=100, rate=200, seconds=10)),
    columns=(*LATENCY, *SIDES),
    variants=(
        Variant(name="free"),
        Variant(name="held asleep", flags=("--hold", "asleep")),
        Variant(name="held spinning", flags=("--hold", "spinning")),
    ),
    subjects=("embedded",),
    alone=True,
)

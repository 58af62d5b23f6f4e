"""Does a flood to a topic of thousands hold up a quiet topic beside it?

Ten subscribers with 100 messages a second: alone; beside a topic of 15,000 with one message on its way at a time; and
beside the same with a publisher that is not held back, where most of the 15,000 wait for room. (They are 9,000 where
descriptors do not suffice.) A fan-out is cut into slices of a millisecond, with a look at the other sockets in between:
p99 of the ten may move by two slices.

What would make it lie: the flood's load, which keeps the load's core busy, so that the ten would wait for that core and
not for the server (their load goes before it, as root; for others it cannot, and the figure is of both); a flood that
has ended or never began (the run fails); one that the server does not feel (it is to be busy).
"""

import resource

from benchmarks.columns import LATENCY, MOVED_P99, SIDES
from benchmarks.pairing import Bench, Variant
from benchmarks.subjects import ONE_TOPIC
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

SIZES = (15_000, 9000)
OTHER_DESCRIPTORS = 500  # of a server or a load, beside its connections
FOR_EVER_SECONDS = 3600.0


def crowd(window: int) -> Plan:
    """As many as there are descriptors for; `window` 0: not held back."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_DESCRIPTORS
    subscribers = next((size for size in SIZES if size <= most), most)
    return Plan(path="/large", subscribers=subscribers, window=window, seconds=FOR_EVER_SECONDS, connecting=256)


BENCH = Bench(
    workload=Workload(name="fairness", plan=Plan(path="/small", subscribers=10, rate=100, seconds=10)),
    columns=(LATENCY[0], MOVED_P99, LATENCY[2], *SIDES),
    variants=(
        Variant(name="alone"),
        Variant(name="beside many", flood=lambda: crowd(1)),
        Variant(name="beside a flood", flood=lambda: crowd(0)),
    ),
    subjects=("fastpubsub", "fastpubsub-io0"),
    without=ONE_TOPIC,
    goes_first=True,
)

"""Does a Python program that is busy, or blocked in a call that keeps the GIL, delay deliveries between plain sockets?

The server is embedded in a program of which another thread holds the GIL for a second, every three: asleep, or
spinning on another core than the server's. Once with an I/O thread, which is not to notice, and once without, where
the program's event loop has to do the sending and stands still.

What would make it lie: a program that lets go of the GIL now and then (the switch interval is longer than the hold); a
server that is alone in its process, which the question is not about; a spinning thread that takes CPU from the server
(it has another core) or from the load. On two cores it has the load's core: the load goes before it, as root, and there
is a run with as much spinning and the GIL free, to which what holding the GIL adds is the difference.
"""

from benchmarks.columns import LATENCY, SIDES
from benchmarks.harness import CPUS
from benchmarks.pairing import Bench, Variant
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

# A core of its own where there are three, else the load's.
SPINNING_CPU = ("--hold-cpu", str(CPUS[len(CPUS) > 1]))

BENCH = Bench(
    workload=Workload(name="gil", plan=Plan(subscribers=100, rate=200, seconds=10)),
    columns=(*LATENCY, *SIDES),
    variants=(
        Variant(name="free"),
        Variant(name="held asleep", flags=("--hold", "asleep")),
        Variant(name="free, spinning", flags=("--hold", "nothing", *SPINNING_CPU)),
        Variant(name="held spinning", flags=("--hold", "spinning", *SPINNING_CPU)),
    ),
    subjects=("embedded", "embedded-io0"),
    goes_first=True,
    alone=True,
)

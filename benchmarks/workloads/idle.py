"""How much user-space memory does an idle subscriber cost?

What would make it lie: what a server loads once, at its first client, and not for each (one client comes and goes
before the first reading); file pages, whose share changes with who else maps them (own memory is anonymous and shared
memory only); the kernel's half, which is not in it, and is the same for every server; a reading before the first pings
(they come every 20 s in fastpubsub and `websockets`; the reading is after 25 s); an allocator that keeps what the
upgrades needed for a moment: that is the server's cost, and counted.
"""

from benchmarks.columns import MEMORY
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(
        name="idle", plan=Plan(subscribers=10_000, publishers=0, seconds=1), is_storm=True, rest_seconds=25
    ),
    columns=MEMORY,
)

"""What does a delivery cost through a web application: by hand, through a hub's mount, and through a hub's own port?

200 subscribers, 100 messages a second, 128 bytes; uvicorn on uvloop each time. By hand is what the documentation of
Starlette and FastAPI shows: a set of connections, and an awaited send on each.

What would make it lie: a rate near what the slowest can do (the latencies would be of a queue); settings of uvicorn
that differ; another event loop.
"""

from benchmarks.columns import CPU_EACH, LATENCY, SIDES
from benchmarks.pairing import Bench
from fastfan.load import Plan
from pubsub.bench.outcome import Workload

BENCH = Bench(
    workload=Workload(name="mount", plan=Plan(subscribers=200, rate=100, seconds=10)),
    columns=(CPU_EACH, *LATENCY, *SIDES),
    subjects=("starlette-by-hand", "hub-mount", "hub-listen"),
)

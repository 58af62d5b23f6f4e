"""``python -m benchmarks.published``: what does `server.publish()` cost, and a topic, when there are very many topics?

One process publishes 128 bytes to each of 1 to 100,000 topics in turn; the time of a call, and memory for each topic.
What would make it lie: a topic that nobody subscribes to keeps no message, so this is the floor; the first call for a
name makes its topic, which is told apart; few topics stay in the cache, as they do for who has few.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

import pubsub
from benchmarks.figures import print_machine, print_table
from benchmarks.harness import SERVER_CPU
from pubsub.bench.cost import ServerProcess
from pubsub.bench.ownserver import pinned
from pubsub.bench.screen import machine

TOPICS: Final = (1, 10, 100, 1000, 10_000, 100_000)
CALLS: Final = 200_000
PAYLOAD: Final = bytes(128)


async def measure(topics: int) -> dict[str, float]:
    names = [f"/topic/{number}" for number in range(topics)]
    process = ServerProcess(os.getpid())
    options = pubsub.Options(max_lingering_topics=1_000_000)
    async with pubsub.serve("127.0.0.1", 0, options=options) as server:
        before = process.memory().own
        first_ns = _publish_ns(server, names)
        memory = process.memory().own - before
        rounds = max(1, CALLS // topics)
        steady_ns = sum(_publish_ns(server, names) for _ in range(rounds)) / rounds
    return {"topics": topics, "first_ns": first_ns, "ns": steady_ns, "bytes": memory / topics}


def _publish_ns(server: pubsub.Server, names: list[str]) -> float:
    publish = server.publish
    start = time.perf_counter_ns()
    for name in names:
        publish(name, PAYLOAD)
    return (time.perf_counter_ns() - start) / len(names)


def main() -> int:
    print_machine()
    with pinned(SERVER_CPU):
        rows = [asyncio.run(measure(topics)) for topics in TOPICS]
    head = ["topics", "ns a call", "the first time", "bytes a topic"]
    cells = [[f"{row['topics']:,}", *(f"{row[name]:,.0f}" for name in ("ns", "first_ns", "bytes"))] for row in rows]
    print_table(head, cells)
    results = Path(__file__).parent / "results" / "published.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({"benchmark": "published", "machine": machine(), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

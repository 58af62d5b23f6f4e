"""How many nanoseconds does it take to append a message, from Python, beside the same in C?

`topic.publish()` one by one and `topic.publish_many()` in batches, kept for a subscriber; with the log turned by this
thread, and with an I/O thread that is told of every message and finds nothing to send. Beside them bare_append, which
does the same to bare C's ring without a lock, a limit or Python.

What would make it lie: a topic that nobody subscribes to, which keeps nothing; a log that outgrows the cache, or pages
that are new (a round is about a mebibyte, after which the log begins again, here and there); the call from Python,
which is most of it for small messages, and belongs to it: that is what a program pays. The I/O thread has the load's
core. Ways and sizes take turns; a figure is the median of many rounds.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.figures import heading, paired_ratio, print_table, spread
from benchmarks.harness import BUILD, LOAD_CPU, SERVER_CPU, BenchmarkError
from fastfan import SUBSCRIBER, Engine, Topic
from pubsub.bench.ownserver import pinned
from pubsub.bench.screen import size_to_text

__all__ = [
    "BARE",
    "BATCH",
    "ROUND_BYTES",
    "SIZES",
    "WAYS",
    "Row",
    "Way",
    "append_ns",
    "bare_ns",
    "measure",
    "messages_of",
    "print_rows",
]

SIZES: Final = (16, 128, 1 << 10, 8 << 10, 64 << 10)
BARE: Final = "bare C"
ROUND_BYTES: Final = 1 << 20
MOST_MESSAGES: Final = 2000  # of a round
BATCH: Final = 16  # so that one of the largest messages is a round
EMPTY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How messages get into the log; with a `batch` of 1 by publish()."""

    name: str
    io_threads: int
    batch: int = 1


WAYS: Final = (
    Way(name="publish()", io_threads=0),
    Way(name="publish_many() of 16", io_threads=0, batch=BATCH),
    Way(name="publish(), I/O thread", io_threads=1),
    Way(name="publish_many() of 16, I/O thread", io_threads=1, batch=BATCH),
)
Row = dict[str, Any]  # {"size": bytes, "way": its name, "ns": one figure for each turn}


def messages_of(size: int) -> int:
    """So many in a round; batches come out even."""
    return BATCH * max(1, min(MOST_MESSAGES, ROUND_BYTES // size) // BATCH)


def measure(sizes: tuple[int, ...], *, turns: int, rounds: int) -> list[Row]:
    """A row for each size and way, `turns` figures in each: medians of `rounds`."""
    rows: list[Row] = [
        {"size": size, "way": name, "ns": []} for size in sizes for name in (BARE, *(way.name for way in WAYS))
    ]
    with pinned(SERVER_CPU):
        for _ in range(turns):
            for row in rows:
                way = next((way for way in WAYS if way.name == row["way"]), None)
                row["ns"].append(append_ns(way, row["size"], rounds) if way else bare_ns(row["size"], rounds))
    return rows


def bare_ns(size: int, rounds: int) -> float:
    command = [str(BUILD / "bare_append"), str(size), str(messages_of(size)), str(rounds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def append_ns(way: Way, size: int, rounds: int) -> float:
    with pinned(LOAD_CPU):  # where its I/O thread stays
        engine = Engine(io_threads=way.io_threads)
    try:
        topic = engine.topic("/append")
        _round_ns(engine, topic, way, size)  # its first segments
        return median(_round_ns(engine, topic, way, size) for _ in range(rounds))
    finally:
        engine.close()


def _round_ns(engine: Engine, topic: Topic, way: Way, size: int) -> float:
    payload, count = bytes(size), messages_of(size)
    batch = [payload] * way.batch
    with _kept(engine, topic):
        start = time.perf_counter_ns()
        if way.batch > 1:
            for _ in range(count // way.batch):
                topic.publish_many(batch)
        else:
            publish = topic.publish
            for _ in range(count):
                publish(payload)
        return (time.perf_counter_ns() - start) / count


@contextmanager
def _kept(engine: Engine, topic: Topic) -> Iterator[None]:
    """What is published is kept for a subscriber that reads nothing, until the end."""
    token = engine.attach(topic, role=SUBSCRIBER).token
    yield
    engine.abort(token)
    end = time.monotonic() + EMPTY_SECONDS
    while topic.log_bytes:
        if engine.io_threads == 0:
            engine.turn(1.0)
        if time.monotonic() > end:
            raise BenchmarkError(f"{topic.log_bytes} bytes stay in the log without subscribers")
        time.sleep(0)


def print_rows(rows: list[Row]) -> None:
    """One line a size and way, each beside bare C at that size."""
    heading("append", [f"{BARE}: to a ring, from C; the rest: to a topic's log, from Python"])
    bare = {row["size"]: row["ns"] for row in rows if row["way"] == BARE}
    table = []
    for row in rows:
        beside = "1" if row["way"] == BARE else paired_ratio(row["ns"], bare[row["size"]])
        table.append([f"{size_to_text(row['size'])}, {row['way']}", spread(row["ns"], ",.1f"), beside])
    print_table(["message, way", "ns each", f"to {BARE}"], table)

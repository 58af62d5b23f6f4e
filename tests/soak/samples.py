"""What the server looks like from outside, once a second: memory, descriptors, threads, and what it says of itself."""

import csv
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pubsub.bench.cost import ServerProcess

__all__ = ["Sample", "sample", "write_samples"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    seconds: float
    rss_bytes: int
    pss_bytes: int
    descriptors: int
    threads: int
    cpu_seconds: float
    clients: int
    topics: int
    memory_bytes: int  # the server's own count, of messages
    messages: int
    departures: int
    refusals: int
    events_dropped: int
    p50_ms: float | None  # of the steady readers, in this second
    p99_ms: float | None
    far_p50_ms: float | None = None  # of readers at the end of the bad wire
    far_p99_ms: float | None = None
    pause_ms: float  # the longest that the steady readers' process stood still

    @property
    def others(self) -> int:
        """Descriptors that are no client's: those of the server itself, and of requests that are under way."""
        return self.descriptors - self.clients


def sample(
    process: ServerProcess, seconds: float, stats: dict[str, Any], steady: dict[str, Any], far: dict[str, Any]
) -> Sample:
    memory = process.memory()
    return Sample(
        seconds=seconds,
        rss_bytes=memory.resident,
        pss_bytes=memory.proportional,
        descriptors=len(os.listdir(f"/proc/{process.pid}/fd")),
        threads=len(os.listdir(f"/proc/{process.pid}/task")),
        cpu_seconds=process.cpu_seconds(),
        # There are no duplex clients, which would count in both.
        clients=stats["publishers"] + stats["subscribers"],
        topics=stats["topics"],
        memory_bytes=stats["memory_bytes"],
        messages=stats["messages"],
        departures=sum(stats["departures"].values()),
        refusals=sum(stats["refusals"].values()),
        events_dropped=stats["events_dropped"],
        p50_ms=steady.get("p50_ms"),
        p99_ms=steady.get("p99_ms"),
        far_p50_ms=far.get("p50_ms"),
        far_p99_ms=far.get("p99_ms"),
        pause_ms=steady.get("pause_ms", 0.0),
    )


def write_samples(file: Path, samples: Sequence[Sample]) -> None:
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(field.name for field in dataclasses.fields(Sample))
        writer.writerows(dataclasses.astuple(each) for each in samples)

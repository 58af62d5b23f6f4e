"""What a server costs, seen from outside: CPU and memory of a process and its children, from /proc.

CPU comes from the processes' CPU clocks, which count nanoseconds: clock ticks would miss every turn shorter than a few
milliseconds. Of a process that runs on another CPU at that very moment, up to one tick is not in it yet. Works on Linux
and for one's own processes; elsewhere there is nothing to read, and `readable` says so.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["MemoryUse", "ServerProcess", "readable"]

_PROC: Final = Path("/proc")

# The clock of all threads of process PID: CPUCLOCK_SCHED (2) without the bit for single threads (4), as
# clock_getcpuclockid(3) makes it.
_CPUCLOCK_SCHED: Final = 2


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes in user space; the kernel's part of a connection is not in it."""

    own: int  # anonymous and shared memory: without file pages, whose share depends on who else maps them
    proportional: int  # Pss: file pages divided among those who map them
    resident: int  # Rss


class ServerProcess:
    """A process and its children, as they are at each reading. OSError where they are gone or not ours to look at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu_seconds(self) -> float:
        """CPU used so far, threads that ended included."""
        return sum(time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) for pid in _family(self.pid)) / 1e9

    def waited_seconds(self) -> float:
        """How long threads were ready to run and had no CPU: other work, or threads that share its core."""
        stats = (path.read_text() for pid in _family(self.pid) for path in (_PROC / f"{pid}/task").glob("*/schedstat"))
        return sum(int(stat.split()[1]) for stat in stats) / 1e9

    def memory(self) -> MemoryUse:
        total = {"Pss_Anon": 0, "Pss_Shmem": 0, "Pss": 0, "Rss": 0}
        for pid in _family(self.pid):
            for line in (_PROC / f"{pid}/smaps_rollup").read_text().splitlines()[1:]:
                key, _, value = line.partition(":")
                if key in total:
                    total[key] += int(value.split()[0]) * 1024
        return MemoryUse(total["Pss_Anon"] + total["Pss_Shmem"], total["Pss"], total["Rss"])


def readable(pid: int) -> bool:
    """Whether there is such a process, and this one may look at it."""
    try:
        ServerProcess(pid).memory()
    except OSError:
        return False
    return True


def _family(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        yield parent
        for task in os.listdir(_PROC / f"{parent}/task"):
            waiting += map(int, (_PROC / f"{parent}/task/{task}/children").read_text().split())

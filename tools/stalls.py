"""Runs a command whose processes stand still now and then, one of them or all, as they do on a machine that is shared.

    python tools/stalls.py [--seed 1] [--every 0.5] [--longest 1.0] -- python -m pytest tests/server

A test that fails under it takes a time for what it waits for; or the product does.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def family(pid: int) -> list[int]:
    """The process and all that came of it, as far as they are still there."""
    found, looked_at = [pid], 0
    while looked_at < len(found):
        with suppress(OSError):
            for task in Path(f"/proc/{found[looked_at]}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        looked_at += 1
    return found


def is_stopped(pid: int) -> bool:
    """Also where a test has done it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stop(pids: list[int]) -> list[int]:
    """Those that are stopped now and were not."""
    stopped = []
    for pid in pids:
        with suppress(OSError):
            if not is_stopped(pid):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
    return stopped


def let_go_on(pids: list[int]) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def run(command: list[str], chance: random.Random, every: float, longest: float) -> int:
    with subprocess.Popen(command) as process:
        stalls = 0
        while process.poll() is None:
            time.sleep(chance.expovariate(1 / every))
            there = family(process.pid)
            stopped = stop(chance.choice([there[:1], there, [chance.choice(there)]]))
            try:
                time.sleep(chance.uniform(longest / 10, longest))
            finally:
                let_go_on(stopped)
            stalls += 1
    print(f"{stalls} times something stood still")
    return process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two of them, on average")
    parser.add_argument("--longest", type=float, default=1.0, help="seconds; the shortest is a tenth of it")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    print(f"stalls: --seed {given.seed} --every {given.every:g} --longest {given.longest:g}", flush=True)
    return run(given.command, random.Random(given.seed), given.every, given.longest)


if __name__ == "__main__":
    sys.exit(main())

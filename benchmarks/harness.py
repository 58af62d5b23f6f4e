"""Starts a server on one core, runs a load on another, and measures both.

What makes every benchmark here lie, and what is done about it:

- Other work on the machine: runs of the servers are interleaved (A B A B), ratios are of pairs, and the load average is
  printed. CPU per delivery suffers less from it than deliveries a second, and is always given; so is how long the
  server was ready to run and had no CPU.
- A load that is slower than the server: it reports how busy it was, and a rate counts only if the server was busy.
- CPU from clock ticks, which miss short turns: the processes' CPU clocks count nanoseconds.
- What a server loads at its first client: one comes and goes before anything is measured.
- On loopback the kernel does the receiver's TCP on the sender's bill: real networks differ.
"""

import os
import resource
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.meanwhile import flooding, going_first
from fastfan import MisuseError
from fastfan.load import Load, Plan
from pubsub.bench.cost import ServerProcess
from pubsub.bench.outcome import Outcome, Workload
from pubsub.bench.ownserver import pinned, stop_process
from pubsub.bench.running import run_workload
from pubsub.errors import PubSubError

__all__ = [
    "BenchmarkError",
    "Subject",
    "allow_descriptors",
    "build",
    "compiled",
    "counted",
    "end",
    "measure",
    "started",
]

HERE: Final = Path(__file__).parent
BUILD: Final = HERE.parent / "build" / "bench"
# What a program is made of, beside the headers.
PROGRAMS: Final = {name: [f"{name}.c"] for name in ("bare_log", "bare_send", "bare_append")}

CPUS: Final = sorted(os.sched_getaffinity(0))
SERVER_CPU: Final = CPUS[0]
LOAD_CPU: Final = CPUS[-1]
START_SECONDS: Final = 10.0
# For finding out how many messages take how long.
FIRST_MESSAGES: Final = 100
SHORTEST_SECONDS: Final = 0.001


class BenchmarkError(Exception):
    """A run that gives no figure, such as of a program that did not start. The text is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A server under test: its name in tables, and its command with ``{port}`` in it."""

    name: str
    command: tuple[str, ...]
    version: str = ""
    how: str = ""  # it broadcasts
    spread: bool = False  # over all CPUs, the load's too; else all of its threads are on `SERVER_CPU`


def end(name: str, program: Callable[[], int]) -> int:
    """The exit code of `program`, after the line that says what went wrong."""
    try:
        return program()
    except (BenchmarkError, MisuseError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build() -> None:
    """Compile the programs of this folder that servers are made of."""
    for program, names in PROGRAMS.items():
        compiled(program, names)


def compiled(program: str, names: Sequence[str]) -> Path:
    """A program, made again if it is older than a source, with `CC` and `CFLAGS` or ``cc -O2``."""
    BUILD.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    target = BUILD / program
    if not target.exists() or target.stat().st_mtime <= newest:
        flags = shlex.split(os.environ.get("CFLAGS", "-O2"))
        sources = [str(HERE / name) for name in names]
        subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", str(target), *sources], check=True)
    return target


def allow_descriptors() -> None:
    """Raise the limit as far as it goes; children inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(subject: Subject, workload: Workload, *, flood: Plan | None = None, goes_first: bool = False) -> Outcome:
    """One run of a server that is started for it, beside a `flood` that is not measured; see meanwhile.py."""
    with started(subject) as (port, process):
        _warm_up(subject, port)
        plan = replace(workload.plan, port=port)
        try:
            with pinned(LOAD_CPU), flooding(flood and replace(flood, port=port)), going_first(asked=goes_first):
                return run_workload(replace(workload, plan=plan), process)
        except (PubSubError, OSError) as error:
            raise BenchmarkError(f"{subject.name}: {error}") from error


def counted(subject: Subject, workload: Workload) -> Workload:
    """The same with a number of messages in place of the seconds, if it is unthrottled: so many as take about as long.

    After some seconds of an unthrottled publisher, megabytes wait between it and the server. A fast one has them done
    in no time, one of 0.2 million deliveries a second needs minutes, and what is measured then is the waiting.
    """
    plan = workload.plan
    if plan.seconds is None or plan.rate or plan.window or workload.is_storm:
        return workload
    messages, seconds = FIRST_MESSAGES, 0.0
    while True:
        trial = replace(workload, plan=replace(plan, seconds=None, messages=messages))
        seconds = max(measure(subject, trial).report.publish_seconds, SHORTEST_SECONDS)
        if seconds > plan.seconds / 4:
            break
        messages = int(messages * min(30.0, plan.seconds / 2 / seconds))
    return replace(trial, plan=replace(trial.plan, messages=max(1, round(messages * plan.seconds / seconds))))


def _warm_up(subject: Subject, port: int) -> None:
    plan = Plan(port=port, path="/warm", subscribers=1, publishers=1, messages=10, patience_seconds=2)
    try:
        with Load(plan) as load:
            load.connect()
            load.publish()
    except Exception as error:
        raise BenchmarkError(f"{subject.name}: {error}") from error


@contextmanager
def started(subject: Subject) -> Iterator[tuple[int, ServerProcess]]:
    """A running server, pinned to `SERVER_CPU` unless spread; it prints to ``build/bench/NAME.out`` and ``.err``."""
    port = _free_port()
    command = [part.replace("{port}", str(port)) for part in subject.command]
    output, errors = BUILD / f"{subject.name}.out", BUILD / f"{subject.name}.err"
    with pinned(None if subject.spread else SERVER_CPU), output.open("wb") as out, errors.open("wb") as err:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except OSError as error:
            raise BenchmarkError(f"{subject.name}: {error}") from error
    try:
        _wait_until_it_listens(process, port, f"{subject.name} does not listen on port {port}", errors)
        yield port, ServerProcess(process.pid)
        if process.poll() is not None:
            raise BenchmarkError(f"{subject.name} ended with {process.returncode}:\n{errors.read_text()}")
    finally:
        stop_process(process)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, complaint: str, errors: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > end:
            raise BenchmarkError(f"{complaint}:\n{errors.read_text()}")
        time.sleep(0.02)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

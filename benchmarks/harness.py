"""Builds the load, starts a server on one core and the load on another, and measures both.

What makes every benchmark here lie, and what is done about it:

- Other work on the machine: runs of the servers are interleaved (A B A B), ratios are of pairs, and the load average is
  printed. CPU per delivery suffers less from it than deliveries a second, and is always given.
- A load that is slower than the server: it reports how busy it was, and a rate counts only if the server was busy.
- CPU from clock ticks, which miss short turns: the processes' CPU clocks count nanoseconds.
- On loopback the kernel does the receiver's TCP on the sender's bill: real networks differ.
"""

import json
import os
import resource
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["BenchmarkError", "Load", "Server", "Subject", "allow_descriptors", "build", "subjects_from"]

HERE: Final = Path(__file__).parent
BUILD: Final = HERE.parent / "build" / "bench"
PROGRAMS: Final = {"bare_log": "bare_log.c", "load": "load*.c"}

CPUS: Final = sorted(os.sched_getaffinity(0))
SERVER_CPU: Final = CPUS[0]
LOAD_CPU: Final = CPUS[-1]
START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 15.0


class BenchmarkError(Exception):
    """A run that gives no figure: a program did not start, or messages were lost. The text is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A server under test: its name in tables, and its command with ``{port}`` in it."""

    name: str
    command: tuple[str, ...]


def subjects_from(names: Sequence[str] | None, *, events: str) -> list[Subject]:
    """The servers that the command line names; bare C and fastpubsub when it names none.

    `events` is what fastpubsub prints of who comes and goes: json, lines or none.
    """
    known = {
        "bare_log": Subject(name="bare_log", command=(str(BUILD / "bare_log"), "{port}")),
        "fastpubsub": Subject(
            name="fastpubsub",
            command=(sys.executable, "-m", "pubsub", "serve", "127.0.0.1:{port}", "--events", events),
        ),
    }
    subjects: list[Subject] = []
    for text in names or ["bare_log", "fastpubsub"]:
        name, equals, command = text.partition("=")
        if not equals and name not in known:
            raise BenchmarkError(f"no server named {name!r}; there are {', '.join(known)} and NAME=COMMAND")
        if any(subject.name == name for subject in subjects):
            raise BenchmarkError(f"two servers named {name!r}; give one another name: NAME=COMMAND")
        subjects.append(Subject(name=name, command=tuple(shlex.split(command))) if equals else known[name])
    return subjects


def build() -> None:
    """Compile what is older than its source, with the compiler and flags that `CC` and `CFLAGS` name or ``cc -O2``."""
    BUILD.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    for program, pattern in PROGRAMS.items():
        target = BUILD / program
        if target.exists() and target.stat().st_mtime > newest:
            continue
        flags = shlex.split(os.environ.get("CFLAGS", "-O2"))
        sources = sorted(str(path) for path in HERE.glob(pattern))
        subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", str(target), *sources], check=True)


def allow_descriptors() -> None:
    """Raise the limit as far as it goes; children inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _pinned(cpu: int) -> Iterator[None]:
    """A child started within runs on `cpu` from its first instruction, as do its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server:
    """A running server, pinned to `SERVER_CPU`; what it prints goes to ``build/bench/NAME.out`` and ``.err``."""

    def __init__(self, subject: Subject) -> None:
        self.port = _free_port()
        self.name = subject.name
        self.command = [part.replace("{port}", str(self.port)) for part in subject.command]
        self.output = BUILD / f"{subject.name}.out"
        self.errors = BUILD / f"{subject.name}.err"
        with _pinned(SERVER_CPU), self.output.open("wb") as output, self.errors.open("wb") as errors:
            try:
                self._process = subprocess.Popen(self.command, stdout=output, stderr=errors)
            except OSError as error:
                raise BenchmarkError(f"{self.name}: {error}") from error
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise BenchmarkError(f"{self.name} does not listen on port {self.port}:\n{self.errors.read_text()}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def alive(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """CPU that the server and its children have used so far, ended threads included."""
        # CLOCK_PROCESS_CPUTIME_ID of another process, as clock_getcpuclockid(3) makes it.
        return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in _family(self.pid)) / 1e9

    def waited_seconds(self) -> float:
        """How long its threads were ready to run and had no CPU: other work, or threads that share its core."""
        stats = (
            path.read_text() for pid in _family(self.pid) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )
        return sum(int(stat.split()[1]) for stat in stats) / 1e9

    def memory_kib(self) -> dict[str, int]:
        """``Rss``, ``Pss`` and ``Own`` of the server and its children, in KiB; kernel memory is not in it.

        Own is anonymous and shared memory: without the pages of files, whose share depends on who else maps them.
        """
        total = {"Rss": 0, "Pss": 0, "Own": 0}
        for pid in _family(self.pid):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                key, _, value = line.partition(":")
                key = "Own" if key in ("Pss_Anon", "Pss_Shmem") else key
                if key in total:
                    total[key] += int(value.split()[0])
        return total


def _family(pid: int) -> list[int]:
    family = [pid]
    for parent in family:
        for task in Path(f"/proc/{parent}/task").iterdir():
            family += map(int, (task / "children").read_text().split())
    return family


class Load:
    """A running load client, pinned to `LOAD_CPU`; `arguments` are those of ``build/bench/load --help``."""

    def __init__(self, port: int, arguments: Sequence[str]) -> None:
        command = [str(BUILD / "load"), "--json", "--port", str(port), *arguments]
        with _pinned(LOAD_CPU):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None and self._process.stderr is not None
        self._stdout, self._stderr = self._process.stdout, self._process.stderr
        self._partial = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._stderr.close()

    def poll(self, seconds: float | None) -> dict[str, Any] | None:
        """What the load says next, or None when it says nothing for so long; None waits as long as it takes."""
        while b"\n" not in self._partial:
            if not select.select([self._stdout], [], [], seconds)[0]:
                return None
            data = os.read(self._stdout.fileno(), 1 << 16)
            if not data:
                raise BenchmarkError(f"load ended: {self._stderr.read().decode().strip()}")
            self._partial += data
        line, _, self._partial = self._partial.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        return report

    def report(self) -> dict[str, Any]:
        """What the load says next."""
        report = self.poll(None)
        assert report is not None
        return report

    def stop(self) -> None:
        """End it without a word, as a crash would."""
        self._process.kill()

"""Programs under test: start one, talk to it, end it by its process id; every wait has a bound."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Self

__all__ = ["Finished", "Program", "RunningServer", "command", "run_command", "running_server"]

# Starting an interpreter takes 0.3 s here, and several times that on a busy machine.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Finished:
    """How a program ended; `stdout` and `stderr` are what was not read from it before."""

    code: int
    stdout: bytes
    stderr: str


class _Lines:
    """The lines of a pipe, each within the patience."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._fd = pipe.fileno()
        self._buffer = b""

    def next(self) -> bytes:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self._buffer:
            chunk = self._read(deadline)
            if not chunk:
                raise AssertionError(f"the program ended its output; the last of it: {self._buffer!r}")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def take_rest(self) -> bytes:
        rest, self._buffer = self._buffer, b""
        return rest

    def _read(self, deadline: float) -> bytes:
        readable = select.poll()
        readable.register(self._fd, select.POLLIN)
        if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise AssertionError(f"no line within {PATIENCE_SECONDS:g} s; so far: {self._buffer!r}")
        return os.read(self._fd, 1 << 16)


class Program:
    """A Python program in a process of its own, ended at the latest with its `with` block."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "PUBSUB_ADDR"}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=inherited | dict(environment or {}),
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self.stdin, self._stdout, self._stderr = self._process.stdin, self._process.stdout, self._process.stderr
        self._lines = {"stdout": _Lines(self._stdout), "stderr": _Lines(self._stderr)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self.stdin, self._stdout, self._stderr):
            pipe.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self, stream: str = "stdout") -> str:
        """The next line of its output."""
        return self._lines[stream].next().decode()

    def wait_line(self, containing: str, stream: str = "stdout") -> str:
        """The next line with `containing` in it; those before it are gone."""
        while containing not in (line := self.line(stream)):
            pass
        return line

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close_stdout(self) -> None:
        """Stop reading what it prints, as `| head` does."""
        self._stdout.close()

    def finish(self, input: bytes = b"") -> Finished:
        """Give it the last of its input, wait for its end, and collect what it said."""
        if self._stdout.closed:
            self.stdin.close()
            code = self._process.wait(PATIENCE_SECONDS)
            return Finished(code, b"", self._rest("stderr") + self._stderr.read().decode())
        stdout, stderr = self._process.communicate(input, PATIENCE_SECONDS)
        return Finished(
            self._process.returncode, self._lines["stdout"].take_rest() + stdout, self._rest("stderr") + stderr.decode()
        )

    def _rest(self, stream: str) -> str:
        return self._lines[stream].take_rest().decode()


@dataclass(frozen=True)
class RunningServer:
    """A `fastpubsub serve` in a process, listening at `url` (without a path)."""

    program: Program
    url: str

    @property
    def address(self) -> str:
        """HOST:PORT, as PUBSUB_ADDR takes it."""
        return self.url.removeprefix("ws://")


def command(*arguments: str, environment: Mapping[str, str] | None = None) -> Program:
    """`fastpubsub` with `arguments`, running."""
    return Program("-m", "pubsub", *arguments, environment=environment)


def run_command(*arguments: str, input: bytes = b"", environment: Mapping[str, str] | None = None) -> Finished:
    """`fastpubsub` with `arguments`, run to its end."""
    with command(*arguments, environment=environment) as program:
        return program.finish(input)


@contextmanager
def running_server(*flags: str) -> Iterator[RunningServer]:
    """A server on a free port, its events as JSON on its standard output."""
    with command("serve", "127.0.0.1:0", "--events", "json", *flags) as program:
        yield RunningServer(program, json.loads(program.line())["listening"])

"""Programs under test: start one, talk to it, end it by its process id; every wait has a bound."""

import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

__all__ = [
    "TESTS_ON_PATH",
    "Finished",
    "Program",
    "RunningServer",
    "command",
    "run_command",
    "running_server",
    "stop_process",
]

# Starting an interpreter takes 0.3 s here, and several times that on a busy machine.
PATIENCE_SECONDS = 30.0
ASKED_SECONDS = 5.0

# The environment of a program that imports tests.support.
TESTS_ON_PATH = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
}


@dataclass(frozen=True)
class Finished:
    """How a program ended; `stdout` and `stderr` are what was not read from it before."""

    code: int
    stdout: bytes
    stderr: str


class _Lines:
    """A pipe that is read line by line, each within the patience."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe = pipe
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
        readable.register(self.pipe, select.POLLIN)
        if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise AssertionError(f"no line within {PATIENCE_SECONDS:g} s; so far: {self._buffer!r}")
        return os.read(self.pipe.fileno(), 1 << 16)


class Program:
    """A Python program in a process of its own, ended at the latest with its `with` block.

    Its standard output is `stdout` where that is given, a descriptor of the caller's, else a pipe read here; so is its
    standard error.
    """

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> None:
        # Nor does it write more often than it would on anybody's machine.
        ours = {"PUBSUB_ADDR", "PYTHONUNBUFFERED"}
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            env=inherited | dict(environment or {}),
            pass_fds=pass_fds,
        )
        assert self._process.stdin
        self.stdin = self._process.stdin
        self._lines = {
            name: _Lines(pipe)
            for name, pipe in (("stdout", self._process.stdout), ("stderr", self._process.stderr))
            if pipe is not None
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Asked first: so that it may tidy up, and coverage may write what it measured.
        self._process.terminate()
        try:
            self._process.wait(ASKED_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.stdin.close()
        for lines in self._lines.values():
            lines.pipe.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout_fileno(self) -> int:
        """Where its output comes in, to see whether there is any."""
        return self._lines["stdout"].pipe.fileno()

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
        self._lines.pop("stdout").pipe.close()

    def finish(self, input: bytes = b"") -> Finished:
        """Give it the last of its input, wait for its end, and collect what it said."""
        # The flag is of our end of the pipe; the program's end is another open file.
        os.set_blocking(self.stdin.fileno(), False)
        return self._collect(input)

    def finish_with_open_input(self) -> Finished:
        """The same, while its input stays open: something else must end it."""
        return self._collect(None)

    def _collect(self, input: bytes | None) -> Finished:
        deadline = time.monotonic() + PATIENCE_SECONDS
        said = {"stdout": b"", "stderr": b""} | {name: lines.take_rest() for name, lines in self._lines.items()}
        with selectors.DefaultSelector() as selector:
            for name, lines in self._lines.items():
                selector.register(lines.pipe, selectors.EVENT_READ, name)
            if input is not None:
                selector.register(self.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise AssertionError(f"it did not end within {PATIENCE_SECONDS:g} s; it said {said}")
                for key, _ in ready:
                    if key.fileobj is self.stdin:
                        input = self._feed(input or b"")
                        done = not input
                    else:
                        chunk = os.read(key.fd, 1 << 16)
                        said[key.data] += chunk
                        done = not chunk
                    if done:
                        selector.unregister(key.fileobj)
            code = self._process.wait(max(0.1, deadline - time.monotonic()))
        return Finished(code, said["stdout"], said["stderr"].decode())

    def _feed(self, input: bytes) -> bytes:
        """Write some of it; what is left. Its end closes the pipe."""
        with suppress(BrokenPipeError):  # it ended without reading all of it
            input = input[os.write(self.stdin.fileno(), input) :] if input else b""
            if input:
                return input
        self.stdin.close()
        return b""


def stop_process(pid: int) -> None:
    """SIGSTOP, and returns when every thread of the process stands still; SIGCONT is the caller's."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(_state_of(task) != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} does not stand still"
        time.sleep(0.001)


def _state_of(task: Path) -> str:
    # Behind the name, which is in brackets and may hold anything.
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


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

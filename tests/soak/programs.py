"""The soak's programs: each answers a line of its input with a line of JSON, and winds down at the end of its input.

Its last line is what is still to be said then. Who asks reads the answer at once, so nobody blocks on a full pipe.

However the soak ends, they end: the kernel kills a program whose parent is gone (`die_with_parent`), also one that is
stopped. Ctrl-C in the terminal goes to all of them; they leave it to the soak, which sends them home.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pubsub.bench.ownserver import pinned
from tests.soak.plan import Plan
from tests.support.processes import Finished, Program

__all__ = ["Asked", "DiedError", "answer", "asked", "asked_until_end", "begin", "die_with_parent"]

_ROOT = Path(__file__).parents[2]
_PIPE_BYTES = 1 << 20
_STDERR_SHOWN = 4000
_PARENT = "SOAK_PARENT"  # the process that started a program, in its environment
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None)  # before any fork


class Asked:
    """One of them, seen from outside."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.program = program
        self.hello: dict[str, Any] = json.loads(program.line())

    def ask(self) -> dict[str, Any]:
        """What is new with it. Raises DiedError where nobody answers any more."""
        try:
            self.program.stdin.write(b"\n")
            answer: dict[str, Any] = json.loads(self.program.line())
        except (AssertionError, OSError) as error:
            raise self._died() from error
        return answer

    def leave(self) -> None:
        """Tells it to, and does not wait for it: it is asked no more."""
        self.program.stdin.close()

    def finish(self) -> dict[str, Any]:
        """Its last word. Raises DiedError where that is none, or where it had something to say on standard error."""
        self.leave()
        finished = self.program.finish_with_open_input()  # that its input is closed is what ends it
        lines = finished.stdout.splitlines()
        if finished.code or finished.stderr or not lines:
            raise DiedError(_ended(self.name, finished))
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer

    def _died(self) -> "DiedError":
        try:
            return DiedError(_ended(self.name, self.program.finish()))
        except AssertionError as error:
            return DiedError(f"{self.name} neither answers nor ends: {error}")


class DiedError(Exception):
    """A program of the soak has ended before its time, or badly: there is no verdict without it."""


def _ended(name: str, finished: Finished) -> str:
    return f"{name}: exit code {finished.code}; {finished.stderr[-_STDERR_SHOWN:].strip()}"


@contextlib.contextmanager
def asked(name: str, plan: Plan, *arguments: str, cpu: int | None) -> Iterator[Asked]:
    """`python -m tests.soak.NAME PLAN ARGUMENTS...`, on that CPU."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    words = ["-m", f"tests.soak.{name}", json.dumps(plan.to_document()), *arguments]
    with contextlib.ExitStack() as stack:
        with pinned(cpu):
            environment = {"PYTHONPATH": path, _PARENT: str(os.getpid())}
            program = stack.enter_context(Program(*words, environment=environment))
        yield Asked(name, program)


# --- inside of them -------------------------------------------------------------------------------------------------


def begin() -> None:
    """The first thing that a program does: it is bound to its parent, and may have as many descriptors as this user."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(int(os.environ[_PARENT]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def die_with_parent(parent: int) -> None:
    """From now on the end of `parent`, which has started this process, kills it. To the kernel the parent is the thread
    that did it: that one must live as long."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)


def answer(document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # more than this user may have in pipes
        fcntl.fcntl(sys.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    print(json.dumps(document), flush=True)


async def asked_until_end(report: Callable[[], dict[str, Any]]) -> None:
    """Answers on this event loop; returns at the end of the input."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def on_input() -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        for _ in range(data.count(b"\n")):
            answer(report())
        if not data:
            ended.set()

    loop.add_reader(sys.stdin.fileno(), on_input)
    await ended.wait()
    loop.remove_reader(sys.stdin.fileno())

"""The soak's programs: each answers a line of its input with a line of JSON, and winds down at the end of its input.

Its last line is what is still to be said then. Who asks reads the answer at once, so nobody blocks on a full pipe.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pubsub.bench.ownserver import pinned
from tests.soak.plan import Plan
from tests.support.processes import Finished, Program

__all__ = ["Asked", "DiedError", "allow_descriptors", "answer", "asked", "asked_until_end"]

_ROOT = Path(__file__).parents[2]
_PIPE_BYTES = 1 << 20
_STDERR_SHOWN = 4000


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

    def finish(self) -> dict[str, Any]:
        """Its last word. Raises DiedError where that is none, or where it had something to say on standard error."""
        finished = self.program.finish()
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
            program = stack.enter_context(Program(*words, environment={"PYTHONPATH": path}))
        yield Asked(name, program)


# --- inside of them -------------------------------------------------------------------------------------------------


def allow_descriptors() -> None:
    """As many as this user may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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

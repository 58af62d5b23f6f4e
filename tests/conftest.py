"""Every test leaves the process as it found it.

A descriptor, a thread or a task more than before fails the test, and so does an exception that an event loop caught
and merely logged. (Warnings, and exceptions nobody could raise, are failures by setup.cfg's filterwarnings.)
Everything here runs around every test, so it stays far under a millisecond where nothing is wrong.
"""

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from asyncio import runners
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# What a shell exports must not decide a test.
os.environ.pop("PUBSUB_ADDR", None)

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline for an example: two shared cores are not a stopwatch.
hypothesis.settings.register_profile("fastfan", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fastfan")

LOOKS = 200  # how often a thread or a descriptor is looked for, 5 ms apart: a stopped machine takes none of them away


@pytest.fixture(autouse=True)
def leaves_no_trace(loop_errors: list[str]) -> Iterator[None]:
    """Autouse fixtures are made first and undone last, so this sees what the test's own fixtures leave."""
    before = _census()
    yield
    # The young generations only: an exception held by a cycle shows in its own test, at little cost.
    gc.collect(1)
    leaked = _settled(before) if _census() - before else []
    swallowed, loop_errors[:] = loop_errors[:], []
    if leaked or swallowed:
        pytest.fail("\n".join([*leaked, *swallowed]), pytrace=False)


@pytest.fixture
def loop_errors(_loop_log: "_LoopLog") -> list[str]:
    """What event loops logged as errors during this test; a test that provokes one looks at it and empties it."""
    return _loop_log.errors


@pytest.fixture(scope="session", autouse=True)
def _loop_log() -> Iterator["_LoopLog"]:
    log = _LoopLog(level=logging.ERROR)
    logging.getLogger("asyncio").addHandler(log)
    # The one moment at which every fixture of a loop is gone and its tasks are not yet cancelled. It is a private
    # name, the same from 3.11 to 3.15; test_leak_checks.py notices when it goes.
    cancel_all_tasks = runners._cancel_all_tasks  # type: ignore[attr-defined]
    runners._cancel_all_tasks = log.watching(cancel_all_tasks)  # type: ignore[attr-defined]
    yield log
    runners._cancel_all_tasks = cancel_all_tasks  # type: ignore[attr-defined]
    logging.getLogger("asyncio").removeHandler(log)
    gc.collect()
    if log.errors:
        pytest.fail("of some earlier test:\n" + "\n".join(log.errors), pytrace=False)


class _LoopLog(logging.Handler):
    """Takes what asyncio logs instead of raising, and the tasks still pending when a loop ends."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(f"swallowed by the event loop: {self.format(record)}")

    def watching(
        self, cancel_all_tasks: Callable[[asyncio.AbstractEventLoop], None]
    ) -> Callable[[asyncio.AbstractEventLoop], None]:
        def note_then_cancel(loop: asyncio.AbstractEventLoop) -> None:
            self.errors += [f"leaked task: {task!r}" for task in asyncio.all_tasks(loop)]
            cancel_all_tasks(loop)

        return note_then_cancel


# -- Descriptors and threads ---------------------------------------------------------------------------------------

_DESCRIPTORS = next((folder for folder in ("/proc/self/fd", "/dev/fd") if os.path.isdir(folder)), None)
_NATIVE_THREADS = "/proc/self/task"  # the engine's I/O threads are unknown to Python; only Linux lists them


def _census() -> set[tuple[str, str]]:
    """("descriptor", number) and ("thread", id) of everything the process has now."""
    if os.path.isdir(_NATIVE_THREADS):
        threads = _native_threads()
    else:
        threads = [str(thread.native_id) for thread in threading.enumerate()]
    descriptors = os.listdir(_DESCRIPTORS) if _DESCRIPTORS else []
    return {("thread", number) for number in threads} | {("descriptor", number) for number in descriptors}


def _native_threads() -> list[str]:
    """A listing ends at a thread that dies under it, without those behind, so what counts is the same twice running.

    Such a thread is at hand: pytest's faulthandler has a watchdog for every test, which is seen to end a little late.
    """
    threads = os.listdir(_NATIVE_THREADS)
    while threads != (threads := os.listdir(_NATIVE_THREADS)):
        pass
    return threads


def _settled(before: set[tuple[str, str]]) -> list[str]:
    """What is still there when threads have had time to end and cycles are collected."""
    gc.collect()
    for _ in range(LOOKS):
        if not (extra := _census() - before):
            break
        time.sleep(0.005)
    return [f"leaked {kind} {number}: {_described(kind, number)}" for kind, number in sorted(extra)]


def _described(kind: str, number: str) -> str:
    try:
        if kind == "descriptor":
            return os.readlink(f"{_DESCRIPTORS}/{number}")
        names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
        return names.get(number) or Path(_NATIVE_THREADS, number, "comm").read_text().strip()
    except OSError as error:
        return str(error)

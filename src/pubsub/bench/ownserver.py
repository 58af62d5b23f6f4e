"""The server that ``fastpubsub bench`` starts when it is given no URL: ``fastpubsub serve`` in a process of its own."""

import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pubsub.errors import PubSubError

__all__ = ["own_server", "pinned", "pinning", "stop_process"]

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 15.0
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def pinning() -> tuple[int, int] | None:
    """The CPUs for the server and for the load, or None where there is only one."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (cpus[0], cpus[-1]) if len(cpus) > 1 else None


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """This thread, and what it starts, on `cpu`; None leaves it where it is."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def own_server(flags: Sequence[str], cpu: int | None) -> Iterator[tuple[int, int]]:
    """A running server; its pid and port. It ends with this process, however that ends."""
    command = [sys.executable, "-m", "pubsub", "serve", "127.0.0.1:0", "--events", "none", *flags]
    with tempfile.TemporaryFile() as errors, pinned(cpu):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, preexec_fn=_end_with_parent
        )
        try:
            yield process.pid, _port(process)
        except _SilentServerError as error:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().removeprefix("fastpubsub: ")
            raise PubSubError(f"the server did not start: {said or 'no word from it'}") from error
        finally:
            stop_process(process)


class _SilentServerError(Exception):
    """It did not say where it listens."""


def _end_with_parent() -> None:
    # In the child, before exec. Ctrl-C in the terminal goes to all of its processes; the server waits to be told by us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _port(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout is not None  # it was asked for
    if not select.select([process.stdout], [], [], _START_SECONDS)[0]:
        raise _SilentServerError
    found = re.search(rb"ws://127\.0\.0\.1:(\d+)", process.stdout.readline())
    if found is None:
        raise _SilentServerError
    return int(found[1])


def stop_process(process: "subprocess.Popen[bytes]") -> None:
    """Ends it, kindly at first."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()

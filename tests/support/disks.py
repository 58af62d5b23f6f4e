"""Files that take nothing more: a disk that is full, and a pipe that is."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["dev_full", "full_disk", "full_pipe", "missing_mounts"]

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def dev_full() -> Iterator[int]:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """Nobody reads it, and it holds as much as it can."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, bytes(4096))
        os.set_blocking(writing, True)
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[int]:
    """A file on a tmpfs of 64 KiB, which nobody else sees, and which is gone with the last descriptor of it.

    Raises OSError where there is no right to mount.
    """
    made: list[int | OSError] = []
    # A thread may have a mount namespace of its own, and needs it only until the file is open.
    thread = threading.Thread(target=lambda: made.append(_file_on_small_tmpfs(folder)))
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    try:
        with contextlib.suppress(OSError):
            while True:
                os.write(made[0], bytes(4096))
        yield made[0]
    finally:
        os.close(made[0])


def _file_on_small_tmpfs(folder: Path) -> int | OSError:
    steps: list[Callable[[], int]] = [
        lambda: _libc.unshare(_CLONE_NEWNS),
        lambda: _libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None),
        lambda: _libc.mount(b"full", os.fsencode(folder), b"tmpfs", 0, b"size=64k"),
    ]
    for step in steps:
        if step() != 0:
            return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return os.open(folder / "full", os.O_WRONLY | os.O_CREAT)


def missing_mounts(folder: Path) -> str:
    try:
        with full_disk(folder):
            return ""
    except OSError as error:
        return f"the right to mount a file system ({error})"

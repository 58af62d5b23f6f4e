"""Standard input and output on the event loop.

Other processes share both descriptors (a terminal's is the shell's as well), so they must stay blocking: that flag is
the open file's, not ours. Hence the rule here: a descriptor is read or written only after poll(2) or the loop said it
is ready, and then once, with no more than cannot block. Regular files are always ready; epoll refuses them. Of a
terminal poll(2) promises room for one byte only, so it is opened again, as an open file of our own.
"""

import asyncio
import errno
import os
import select
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from fcntl import F_GETFL, fcntl
from typing import Self

__all__ = ["STDIN", "STDOUT", "Output", "fill_standard_descriptors", "read_chunks", "read_lines", "reopen_terminal"]

STDIN = 0
STDOUT = 1

_READ_BYTES = 1 << 16  # what a pipe holds at most, by default
_FILE_WRITE_BYTES = 1 << 20
_WRITES_A_TURN = 64  # then the loop has its turn, and with it the WebSocket's pings


class Output:
    """Bytes to a descriptor, in order, while the event loop goes on.

    What is written in one turn of the loop goes out together, right after it. A caller that can write without end
    awaits `drain()`, which waits while more than `limit` bytes are pending. Errors of the descriptor (BrokenPipeError
    when nobody reads any more) are raised by `drain()` and `flush()`; bytes written after one are dropped. `fd` itself
    stays open; `close()` gives back the rest.
    """

    def __init__(self, fd: int, *, limit: int = 1 << 18) -> None:
        self._reopened = reopen_terminal(fd)
        self._fd = fd if self._reopened is None else self._reopened
        self._limit = limit
        self._pending = bytearray()
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        # poll(2) promises room for PIPE_BUF bytes and no more.
        self._write_bytes = _FILE_WRITE_BYTES if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        self._error: OSError | None = None
        self._scheduled = False
        self._progress = asyncio.Event()
        self._broken = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What is pending is dropped."""
        self._pending.clear()
        self._loop.remove_writer(self._fd)
        if self._reopened is not None:
            os.close(self._reopened)

    def write(self, data: bytes) -> None:
        if self._error is None:
            self._pending += data
            self._schedule()

    async def drain(self) -> None:
        await self._wait_below(self._limit)

    async def flush(self) -> None:
        await self._wait_below(0)

    async def wait_broken(self) -> None:
        """Wait until nobody reads any more and raise BrokenPipeError; for a pipe, even while nothing is written."""
        fd = self._fd
        # The loop calls the error on a pipe's writing end "readable", and there nothing else is.
        watched = stat.S_ISFIFO(os.fstat(fd).st_mode) and fcntl(fd, F_GETFL) & os.O_ACCMODE == os.O_WRONLY
        if watched:
            self._loop.add_reader(fd, self._broken.set)
        try:
            await self._broken.wait()
        finally:
            if watched:
                self._loop.remove_reader(fd)
        raise self._error or BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    async def _wait_below(self, limit: int) -> None:
        while self._error is None and len(self._pending) > limit:
            self._progress.clear()
            await self._progress.wait()
        if self._error is not None:
            raise self._error

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._scheduled = False
        try:
            self._write_some()
        except OSError as error:
            self._error = error
            self._broken.set()
            self._pending.clear()
        self._progress.set()

    def _write_some(self) -> None:
        for _ in range(_WRITES_A_TURN):
            if not self._pending:
                return
            written = self._write_once()
            if not written:
                self._scheduled = True
                self._loop.add_writer(self._fd, self._on_room)
                return
            del self._pending[:written]
        if self._pending:
            self._schedule()

    def _write_once(self) -> int:
        if not self._poll.poll(0):
            return 0
        try:
            return os.write(self._fd, self._pending[: self._write_bytes])
        except BlockingIOError:
            return 0

    def _on_room(self) -> None:
        self._loop.remove_writer(self._fd)
        self._on_turn()


def reopen_terminal(fd: int) -> int | None:
    """An open file of our own for the terminal; None when it is none, or another user's (after `su`)."""
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None


def fill_standard_descriptors() -> None:
    """Open what of 0, 1 and 2 was closed (`>&-`), lest a socket gets that number and our output goes there."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


async def read_chunks(fd: int) -> AsyncGenerator[bytes]:
    """What comes in on `fd`, as it comes, until its end."""
    while True:
        await _wait_readable(fd)
        chunk = os.read(fd, _READ_BYTES)
        if not chunk:
            return
        yield chunk


async def read_lines(fd: int) -> AsyncGenerator[bytes]:
    """The lines of `fd` as they come, without their newline; the last one needs none."""
    rest = bytearray()
    async with aclosing(read_chunks(fd)) as chunks:
        async for chunk in chunks:
            first, *more = chunk.split(b"\n")
            rest += first
            for piece in more:
                yield bytes(rest)
                rest = bytearray(piece)
    if rest:
        yield bytes(rest)


async def _wait_readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(fd, readable.set)
    except PermissionError:  # a regular file, or /dev/null: always ready
        await asyncio.sleep(0)
        return
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)

"""What `serve` says on standard error: its log and a few words of its own. Never at the cost of serving.

Standard error may be a pipe that nobody reads, a terminal that was told to stop, a file on a full disk. A line that
cannot be written at once is lost, and counted; the next one that can be says how many there were before it.
"""

import logging
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pubsub.cli.pipes import reopen_terminal

__all__ = ["LogLines", "log_lines"]

_STDERR = 2


class LogLines(logging.Handler):
    """Log records and other lines to a descriptor, which stays open. Any thread."""

    def __init__(self, fd: int = _STDERR) -> None:
        super().__init__()
        self._reopened = reopen_terminal(fd)
        self._fd = fd if self._reopened is None else self._reopened
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._lost = 0
        self._writing = threading.Lock()

    def say(self, text: str) -> None:
        """A line of the command's own."""
        self._write(f"fastpubsub: {text}")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record))
        except Exception:
            # A record that cannot be formatted: logging's own way to treat it would write to standard error.
            self._lost += 1

    def close(self) -> None:
        if self._reopened is not None:
            os.close(self._reopened)
            self._reopened = None
        super().close()

    def _write(self, text: str) -> None:
        with self._writing:
            before = f"fastpubsub: {self._lost} lines lost here\n" if self._lost else ""
            data = f"{before}{text}\n".encode(errors="backslashreplace")
            # poll(2) promises a pipe's room for PIPE_BUF bytes and no more.
            pieces = (data[start : start + select.PIPE_BUF] for start in range(0, len(data), select.PIPE_BUF))
            self._lost = 0 if all(map(self._write_once, pieces)) else self._lost + 1

    def _write_once(self, piece: bytes) -> bool:
        try:
            return bool(self._poll.poll(0)) and os.write(self._fd, piece) == len(piece)
        except OSError:
            return False


@contextmanager
def log_lines() -> Iterator[LogLines]:
    """Meanwhile all logging of the process goes there."""
    lines = LogLines()
    logging.getLogger().addHandler(lines)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(lines)
        lines.close()

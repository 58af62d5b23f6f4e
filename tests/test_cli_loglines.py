"""What `serve` says on standard error: written at once or lost, and how much was lost is told."""

import logging
import os
import select
import sys
from collections.abc import Iterator

import pytest

from pubsub.cli.loglines import LogLines, log_lines


class Pipe:
    """A pipe whose reader decides when there is room."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def fill(self) -> None:
        poll = select.poll()
        poll.register(self.writing, select.POLLOUT)
        while poll.poll(0):
            os.write(self.writing, bytes(select.PIPE_BUF))

    def empty(self) -> None:
        os.set_blocking(self.reading, False)
        while True:
            try:
                os.read(self.reading, 1 << 16)
            except BlockingIOError:
                return

    def text(self) -> str:
        return os.read(self.reading, 1 << 16).decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reading)
    os.close(pipe.writing)


@pytest.fixture
def lines(pipe: Pipe) -> Iterator[LogLines]:
    lines = LogLines(pipe.writing)
    yield lines
    lines.close()


def record(text: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    told = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("pubsub", logging.WARNING, "", 0, text, arguments, told)


def test_a_line_of_the_commands_own_has_its_name_and_a_record_is_as_it_is(lines: LogLines, pipe: Pipe) -> None:
    lines.say("ending")
    lines.handle(record("accepting pauses for %g s", 0.2))
    assert pipe.text() == "fastpubsub: ending\naccepting pauses for 0.2 s\n"


def test_what_finds_no_room_is_lost_and_counted_before_the_next_line(lines: LogLines, pipe: Pipe) -> None:
    pipe.fill()
    for _ in range(3):
        lines.say("nobody reads this")
    pipe.empty()
    lines.say("this")
    lines.say("and this")
    assert pipe.text() == "fastpubsub: 3 lines lost here\nfastpubsub: this\nfastpubsub: and this\n"


def test_what_cannot_be_written_is_lost(pipe: Pipe) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        lines = LogLines(full)
        lines.say("no room on the disk")
        lines.close()
    finally:
        os.close(full)


def test_a_record_that_cannot_be_formatted_is_counted_as_lost(lines: LogLines, pipe: Pipe) -> None:
    lines.handle(record("%d", "no number"))
    lines.say("next")
    assert pipe.text() == "fastpubsub: 1 lines lost here\nfastpubsub: next\n"


def test_an_exception_and_a_long_line_are_there_to_their_ends(lines: LogLines, pipe: Pipe) -> None:
    lines.handle(record("failed", error=ValueError("x" * 10_000)))
    lines.say("next")
    assert pipe.text() == f"failed\nValueError: {'x' * 10_000}\nfastpubsub: next\n"


def test_all_logging_of_the_process_goes_there_meanwhile(capfd: pytest.CaptureFixture[str]) -> None:
    with log_lines():
        logging.getLogger("asyncio").warning("of asyncio")
    logging.getLogger("asyncio").debug("afterwards")
    sys.stderr.flush()
    assert capfd.readouterr().err == "of asyncio\n"

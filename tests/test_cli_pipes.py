"""Standard input and output on the event loop: real pipes, files and terminals."""

import asyncio
import os
import pty
import tty
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from pubsub.cli.pipes import Output, read_chunks, read_lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with suppress(OSError):  # the test may have closed it
            os.close(fd)


async def lines_of(fd: int) -> list[bytes]:
    return [line async for line in read_lines(fd)]


async def read_exactly(fd: int, size: int) -> bytes:
    got = b""
    async with aclosing(read_chunks(fd)) as chunks:
        while len(got) < size:
            got += await anext(chunks)
    return got


async def test_lines_come_as_soon_as_they_are_written(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    async with aclosing(read_lines(reading)) as lines:
        os.write(writing, b"one\ntw")
        assert await anext(lines) == b"one"
        os.write(writing, b"o\n")
        assert await anext(lines) == b"two"


async def test_the_last_line_needs_no_newline_and_empty_lines_count(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"\none\r\n\nlast")
    os.close(writing)
    assert await lines_of(reading) == [b"", b"one\r", b"", b"last"]


async def test_a_line_of_a_megabyte_is_one_line(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = Output(writing)
    line = os.urandom(1 << 20).replace(b"\n", b" ")
    output.write(line + b"\n")
    async with aclosing(read_lines(reading)) as lines:
        assert await anext(lines) == line
    await output.flush()


async def test_regular_files_and_dev_null_are_read_too(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"a\nb\n")
    for path, expected in ((file, [b"a", b"b"]), (Path(os.devnull), [])):
        fd = os.open(path, os.O_RDONLY)
        try:
            assert await lines_of(fd) == expected
        finally:
            os.close(fd)


async def test_output_to_a_full_pipe_waits_without_holding_up_the_loop(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = Output(writing, limit=1 << 16)
    data = os.urandom(1 << 19)
    output.write(data)
    draining = asyncio.ensure_future(output.drain())
    await asyncio.sleep(0)  # the loop turns: the write has filled the pipe and waits
    await asyncio.sleep(0)
    assert not draining.done()
    assert await read_exactly(reading, len(data)) == data
    await draining
    assert os.get_blocking(writing), "the descriptor is shared with others and must stay as it was"


async def test_output_goes_to_files_whole(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    data = os.urandom(3 << 20)
    try:
        output = Output(fd)
        output.write(data)
        await output.flush()
    finally:
        os.close(fd)
    assert (tmp_path / "out").read_bytes() == data


async def test_output_goes_to_a_terminal_that_takes_little_at_a_time() -> None:
    terminal, screen = pty.openpty()
    tty.setraw(screen)
    try:
        with Output(screen) as output:
            data = b"x" * 100_000
            output.write(data)
            assert await read_exactly(terminal, len(data)) == data
            await output.flush()
    finally:
        os.close(screen)
        os.close(terminal)


async def test_a_broken_pipe_is_raised_by_flush_and_later_writes_are_dropped(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = Output(writing)
    os.close(reading)
    output.write(b"lost")
    with pytest.raises(BrokenPipeError):
        await output.flush()
    output.write(b"lost as well")
    with pytest.raises(BrokenPipeError):
        await output.drain()


async def test_a_pipe_that_breaks_is_noticed_while_nothing_is_written(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    watching = asyncio.ensure_future(Output(writing).wait_broken())
    await asyncio.sleep(0)
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        await asyncio.wait_for(watching, 5)

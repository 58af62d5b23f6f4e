"""``fastpubsub pub``: messages from arguments, files or standard input to a topic."""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

import click

from pubsub.cli.connecting import client_flags, coming_back, is_url, lost, note, until_first
from pubsub.cli.exits import Exit, run_until_done
from pubsub.cli.pipes import STDIN, read_chunks, read_lines
from pubsub.errors import ConfigError, ConnectionClosed, PubSubError
from pubsub.gap import Gap, counted
from pubsub.publisher import Publisher

__all__ = ["pub"]

_FLUSH_SECONDS: Final = 1.0


@click.command(
    short_help="Publish messages.",
    epilog="""\b
Examples:
  fastpubsub pub /news "hello, everyone"           one message
  fastpubsub pub ws://10.0.0.7:8080/news one two   two messages
  fastpubsub pub /pictures --file picture.png      a file's bytes as one message
  tail -f app.log | fastpubsub pub /logs --text    a message a line, as text
  tail -f app.log | fastpubsub pub /logs --reconnect
""",
)
@click.argument("words", metavar="[URL] [MESSAGE]...", nargs=-1)
@click.option("-m", "--message", "messages", multiple=True, help="A message, whatever it looks like; repeatable.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="A file whose bytes are one message, - for all of stdin; repeatable.",
)
@click.option("--text", is_flag=True, help="Send text messages, which must be UTF-8; else they are binary.")
@client_flags
def pub(
    *,
    words: tuple[str, ...],
    messages: tuple[str, ...],
    files: tuple[str, ...],
    text: bool,
    name: str,
    headers: list[tuple[str, str]],
    reconnect: bool,
    verbose: bool,
) -> int:
    """Publish messages: the MESSAGEs, or the lines of stdin as they come.

    An argument with :// is the URL, one that starts with / a path on the server of PUBSUB_ADDR. Exits with 0 only when
    the server has taken every message: with --reconnect, with 1 when some may be lost, and a line says how many.
    """
    given = list(words)
    url = given.pop(0) if given and is_url(given[0]) else None
    if sum(map(bool, (given, messages, files))) > 1:
        raise click.UsageError("messages come from arguments, from -m or from --file; give them one way")
    if given or messages or files:
        source = _source(given or messages, files)
    else:
        source = read_lines(STDIN)
        if os.isatty(STDIN):
            note("a message a line; Ctrl-D ends", verbose=verbose)
    publishing = _publish(url, source, text=text, name=name, headers=headers, reconnect=reconnect, verbose=verbose)
    return run_until_done(publishing)


async def _publish(
    url: str | None,
    source: AsyncGenerator[bytes],
    *,
    text: bool,
    name: str,
    headers: Sequence[tuple[str, str]],
    reconnect: bool,
    verbose: bool,
) -> int:
    gaps: list[Gap] = []

    async def publish_all() -> int:
        count = 0
        async with aclosing(source):
            async for message in source:
                await publisher.publish(_as_text(message, count) if text else message)
                count += 1
        await _flush(publisher)
        return count

    publisher = Publisher(url, name=name, headers=headers, **coming_back(reconnect, gaps.append))
    try:
        async with publisher:
            # While stdin is silent, nothing but this would notice that the server has gone.
            ends = [publisher.wait_closed(), *([_keep_flushing(publisher)] if reconnect else [])]
            count = await until_first(publish_all(), *ends)
            if count is None:
                raise lost(publisher.error)
    finally:
        unconfirmed = sum(gap.unconfirmed for gap in gaps) + publisher.unconfirmed
        if reconnect and unconfirmed:
            note(f"{counted(unconfirmed)} unconfirmed, and maybe lost", verbose=True)
    note(f"published {counted(count)} to {publisher.url}", verbose=verbose)
    return Exit.FAILED if gaps and unconfirmed else Exit.FINE


async def _flush(publisher: Publisher) -> None:
    """Until what was published since the last loss is in the log: a loss itself is told of by its gap."""
    while True:
        try:
            return await publisher.flush()
        except ConnectionClosed:
            if publisher.error is not None:
                raise


async def _keep_flushing(publisher: Publisher) -> None:
    """So that a loss makes doubtful only what was published shortly before it."""
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        if publisher.unconfirmed:
            with suppress(PubSubError):  # others tell of it
                await publisher.flush()


async def _source(words: Sequence[str], files: Sequence[str]) -> AsyncGenerator[bytes]:
    for word in words:
        yield os.fsencode(word)  # the very bytes that were typed, UTF-8 or not
    for file in files:
        if file == "-":
            yield b"".join([chunk async for chunk in read_chunks(STDIN)])
        else:
            yield Path(file).read_bytes()


def _as_text(message: bytes, count: int) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"message {count + 1} is no UTF-8 (its byte {error.start} is {message[error.start]:#04x}); leave out --text"
        ) from error

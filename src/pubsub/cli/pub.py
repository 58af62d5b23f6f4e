"""``fastpubsub pub``: messages from arguments, files or standard input to a topic."""

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import click

from pubsub.cli.connecting import client_flags, is_url, lost, note, until_first
from pubsub.cli.exits import Exit, run_until_done
from pubsub.cli.pipes import STDIN, read_chunks, read_lines
from pubsub.errors import ConfigError
from pubsub.publisher import Publisher

__all__ = ["pub"]


@click.command(
    short_help="Publish messages.",
    epilog="""\b
Examples:
  fastpubsub pub /news "hello, everyone"           one message
  fastpubsub pub ws://10.0.0.7:8080/news one two   two messages
  fastpubsub pub /pictures --file picture.png      a file's bytes as one message
  tail -f app.log | fastpubsub pub /logs --text    a message a line, as text
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
    verbose: bool,
) -> int:
    """Publish messages: the MESSAGEs, or the lines of stdin as they come.

    An argument with :// is the URL, one that starts with / a path on the server of PUBSUB_ADDR. Exits with 0 only when
    the server has taken every message.
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
    return run_until_done(_publish(url, source, text=text, name=name, headers=headers, verbose=verbose))


async def _publish(
    url: str | None,
    source: AsyncGenerator[bytes],
    *,
    text: bool,
    name: str,
    headers: Sequence[tuple[str, str]],
    verbose: bool,
) -> int:
    async def publish_all() -> int:
        count = 0
        async with aclosing(source):
            async for message in source:
                await publisher.publish(_as_text(message, count) if text else message)
                count += 1
        await publisher.flush()
        return count

    async with Publisher(url, name=name, headers=headers) as publisher:
        # While stdin is silent, nothing but this would notice that the server has gone.
        count = await until_first(publish_all(), publisher.wait_closed())
        if count is None:
            raise lost(publisher.error)
    note(f"published {count} message{'' if count == 1 else 's'} to {publisher.url}", verbose=verbose)
    return Exit.FINE


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

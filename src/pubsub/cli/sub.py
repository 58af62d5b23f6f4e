"""``fastpubsub sub``: the messages of a topic to standard output."""

import base64
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import click

from pubsub.cli.connecting import client_flags, coming_back, lost, note, until_first
from pubsub.cli.exits import Exit, run_until_done
from pubsub.cli.pipes import STDOUT, Output
from pubsub.errors import PubSubError
from pubsub.subscriber import Subscriber

__all__ = ["sub"]

Show = Callable[[bytes | str], bytes]


@click.command(
    short_help="Print a topic's messages.",
    epilog="""\b
Examples:
  fastpubsub sub /news                                a message a line
  fastpubsub sub ws://10.0.0.7:8080/news --count 1    the next message, then end
  fastpubsub sub /pictures --count 1 --format raw > picture.png
  fastpubsub sub /prices --format json | jq -r .data
  fastpubsub sub /news --reconnect >> news.log        as long as it can
""",
)
@click.argument("url", required=False)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End with 0 after N messages.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["raw", "lines", "json"]),
    default="lines",
    show_default=True,
    help="raw: the bytes and nothing else. lines: a newline after each. json: an object a line, with type (binary or "
    "text) and data, or base64 in place of data when a message is no UTF-8.",
)
@client_flags
def sub(
    *,
    url: str | None,
    count: int | None,
    format_name: str,
    name: str,
    headers: list[tuple[str, str]],
    reconnect: bool,
    verbose: bool,
) -> int:
    """Subscribe and print what is published from now on.

    A URL has :// in it; one that starts with / is a path on the server of PUBSUB_ADDR. Messages are written as soon as
    they are here. On a terminal, `lines` shows control characters escaped, so that no message can play tricks with it.
    """
    show = _show_escaped if format_name == "lines" and os.isatty(STDOUT) else _FORMATS[format_name]
    subscribing = _subscribe(url, count, show, name=name, headers=headers, reconnect=reconnect, verbose=verbose)
    return run_until_done(subscribing)


async def _subscribe(
    url: str | None,
    count: int | None,
    show: Show,
    *,
    name: str,
    headers: Sequence[tuple[str, str]],
    reconnect: bool,
    verbose: bool,
) -> int:
    subscriber = Subscriber(url, text=True, name=name, headers=headers, **coming_back(reconnect))
    try:
        async with subscriber:
            note(f"subscribed to {subscriber.url}", verbose=verbose)
            with Output(STDOUT) as output:
                enough = await until_first(_print(subscriber, output, count, show), output.wait_broken())
    except BrokenPipeError:  # whoever reads our output has had enough
        return Exit.FINE
    if not enough:
        raise lost(subscriber.error)
    return Exit.FINE


async def _print(subscriber: Subscriber[bytes | str], output: Output, count: int | None, show: Show) -> bool:
    """Print what comes; whether it was `count` messages."""
    left = count
    # What ended the subscription is in its `error`, to be told after everything before it is printed.
    with suppress(PubSubError):
        # All that is here goes out at once, and nothing waits for more.
        while (left is None or left > 0) and (messages := await subscriber.take_messages()):
            output.write(b"".join(map(show, messages[:left])))
            await output.drain()
            left = None if left is None else left - len(messages)
    await output.flush()
    return left is not None and left <= 0


def _raw(message: bytes | str) -> bytes:
    return message.encode() if isinstance(message, str) else message


def _line(message: bytes | str) -> bytes:
    return _raw(message) + b"\n"


def _json(message: bytes | str) -> bytes:
    kind = "text" if isinstance(message, str) else "binary"
    try:
        document = {"type": kind, "data": _raw(message).decode()}
    except UnicodeDecodeError:
        document = {"type": kind, "base64": base64.b64encode(_raw(message)).decode()}
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


# C0 without the tab, DEL and C1: what a terminal takes for commands.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def _show_escaped(message: bytes | str) -> bytes:
    text = _raw(message).decode(errors="backslashreplace")
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text).encode() + b"\n"


_FORMATS: Final[dict[str, Show]] = {"raw": _raw, "lines": _line, "json": _json}

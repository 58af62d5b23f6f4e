"""What `pub`, `sub` and `check` share: where to connect, the flags of a client, waiting while a connection lives."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import click

from pubsub.client import ComingBack
from pubsub.errors import ClosedBy, ConnectionClosed, PubSubError
from pubsub.gap import Gap

__all__ = ["client_flags", "coming_back", "header_flag", "is_url", "lost", "note", "until_first"]

T = TypeVar("T")


def is_url(word: str) -> bool:
    """Whether an argument is the URL (it has `://`), or a path on the server of PUBSUB_ADDR (it starts with `/`)."""
    return "://" in word or word.startswith("/")


def client_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that `pub` and `sub` have in common."""
    flags = (
        click.option("--name", default="", metavar="NAME", help="What the server's events call this client."),
        header_flag,
        click.option(
            "--reconnect",
            is_flag=True,
            help="Connect again when the connection is lost or the server says to come back, and tell on stderr what "
            "may be missing. The first connection has to succeed.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Say on stderr what happens; a terminal is always told."),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


def header_flag(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flag for headers, which `bench` has too."""
    return click.option(
        "-H",
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        callback=_to_headers,
        help="A header to send along with the request; repeatable.",
    )(command)


def _to_headers(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[tuple[str, str]]:
    headers = []
    for value in values:
        name, colon, rest = value.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{value!r} is no header; give one such as 'Authorization: Bearer TOKEN'")
        headers.append((name.strip(), rest.strip()))
    return headers


def lost(error: PubSubError | None) -> PubSubError:
    """Why a connection ended that should not have; a client that just ended normally has no error to tell."""
    return error or ConnectionClosed(1000, by=ClosedBy.PEER)


def coming_back(wanted: bool, on_gap: Callable[[Gap], object] = lambda gap: None) -> ComingBack:
    """What `--reconnect` means for a client: losses and gaps are told on stderr, to pipes too."""

    def tell_gap(gap: Gap) -> None:
        note(str(gap), verbose=True)
        on_gap(gap)

    def tell_loss(error: PubSubError) -> None:
        note(f"{error}; coming back", verbose=True)

    return ComingBack(reconnect=True, on_gap=tell_gap, on_away=tell_loss) if wanted else ComingBack()


def note(text: str, *, verbose: bool) -> None:
    """Tell a person, not a pipe."""
    if verbose or sys.stderr.isatty():
        print(f"fastpubsub: {text}", file=sys.stderr, flush=True)


async def until_first(work: Coroutine[Any, Any, T], *ends: Coroutine[Any, Any, None]) -> T | None:
    """The result of `work`, or None when one of `ends` was over before it. What raises first, raises here."""
    tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(each) for each in (work, *ends)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        result: T | None = next(task for task in tasks if task in done).result()
        return result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

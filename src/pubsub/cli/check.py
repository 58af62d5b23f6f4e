"""``fastpubsub check``: is a server there that upgrades? For health checks."""

import asyncio
import re
import time
from typing import Final

import click

from pubsub.cli.connecting import lost
from pubsub.cli.exits import Exit, run_until_done
from pubsub.cli.flags import duration_from
from pubsub.client import Client
from pubsub.closing import NORMAL
from pubsub.errors import ConnectFailed, ConnectionClosed, UpgradeRefused

__all__ = ["check"]

# What a server says to one client too many (gate.py): it lives and does its part for all others, and to start it anew
# would lose them. No other 503 or 429 is a good sign: it may be closing, or the proxy in front may have lost it.
_FULL: Final = re.compile(
    r"(\d+ connections are open, which is max_connections"
    r"|\d+ connections from [0-9a-f.:]+ are open, which is max_connections_per_address);.*"
)


@click.command(
    short_help="Say whether a server answers.",
    epilog="""\b
Examples:
  fastpubsub check                                the server of PUBSUB_ADDR
  fastpubsub check wss://pubsub.example.com       through a proxy
  HEALTHCHECK CMD ["fastpubsub", "check"]         in a Dockerfile
""",
)
@click.argument("url", required=False)
@click.option("--timeout", type=duration_from(0.01), default="5s", show_default=True, help="How long it may take.")
def check(*, url: str | None, timeout: float) -> int:
    """Open a WebSocket and close it again: exits with 0 when the server did its part, else with 1.

    A server that answers that it is full, by max_connections or max_connections_per_address, is alive: 0 as well.
    """
    return run_until_done(_check(url, timeout))


class _Checker(Client):
    """Asks for a WebSocket to no topic: the server upgrades and closes it with 1000, and nobody hears of it."""

    _role = "check"


async def _check(url: str | None, timeout: float) -> int:
    start = time.monotonic()
    checker = _Checker(url, open_timeout=timeout, close_deadline=timeout)
    try:
        await checker.open()
    except UpgradeRefused as refused:
        full = _FULL.fullmatch(refused.body.strip()) if refused.status in (429, 503) else None
        if full is None:
            raise
        click.echo(f"{checker.url} is alive, and full: {full[1]}")
        return Exit.FINE
    try:
        async with asyncio.timeout(timeout):
            await checker.wait_closed()
    except TimeoutError:
        raise ConnectFailed(f"{checker.url} upgraded, but did not close in {timeout:g} s; is it a fastfan?") from None
    finally:
        await checker.close()
    if not (isinstance(checker.error, ConnectionClosed) and checker.error.code == NORMAL):
        raise lost(checker.error)
    click.echo(f"{checker.url} is up: upgraded and closed in {(time.monotonic() - start) * 1000:.0f} ms")
    return Exit.FINE

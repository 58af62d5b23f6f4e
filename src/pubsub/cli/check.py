"""``fastpubsub check``: is a server there that upgrades? For health checks."""

import asyncio
import time

import click

from pubsub.cli.connecting import lost
from pubsub.cli.exits import Exit, run_until_done
from pubsub.cli.flags import duration
from pubsub.client import Client
from pubsub.closing import NORMAL
from pubsub.errors import ConnectFailed, ConnectionClosed

__all__ = ["check"]


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
@click.option("--timeout", type=duration, default="5s", show_default=True, help="How long it may take.")
def check(*, url: str | None, timeout: float) -> int:
    """Open a WebSocket and close it again: exits with 0 when the server did its part, else with 1."""
    return run_until_done(_check(url, timeout))


class _Checker(Client):
    """Asks for a WebSocket to no topic: the server upgrades and closes it with 1000, and nobody hears of it."""

    _role = "check"


async def _check(url: str | None, timeout: float) -> int:
    start = time.monotonic()
    checker = _Checker(url, open_timeout=timeout, close_deadline=timeout)
    await checker.open()
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

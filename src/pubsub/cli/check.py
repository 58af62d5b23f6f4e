"""``fastpubsub check``: is a server there that upgrades? For health checks."""

import asyncio
import time

import click

from pubsub.cli.connecting import client_url, is_url
from pubsub.cli.exits import Exit, run_until_done
from pubsub.cli.flags import duration
from pubsub.errors import ConfigError, ConnectFailed

__all__ = ["check"]


@click.command(
    epilog="""\b
Examples:
  fastpubsub check                                the server of PUBSUB_ADDR
  fastpubsub check wss://pubsub.example.com       through a proxy
  HEALTHCHECK CMD ["fastpubsub", "check"]         in a Dockerfile
"""
)
@click.argument("url", required=False)
@click.option("--timeout", type=duration, default="5s", show_default=True, help="How long it may take.")
def check(*, url: str | None, timeout: float) -> int:
    """Open a WebSocket and close it again: exits with 0 when the server did its part, else with 1."""
    if url is not None and not is_url(url):
        raise ConfigError(f"{url!r} is neither a URL nor a path; give ws://HOST:PORT, or / on PUBSUB_ADDR")
    return run_until_done(_check(client_url(url), timeout))


async def _check(url: str, timeout: float) -> int:
    from pubsub.subscriber import Subscriber

    start = time.monotonic()
    try:
        async with asyncio.timeout(timeout), Subscriber(url):
            pass
    except TimeoutError:
        raise ConnectFailed(f"{url} did not answer in {timeout:g} s; is it up, or --timeout too short?") from None
    click.echo(f"{url} is up: upgraded and closed in {(time.monotonic() - start) * 1000:.0f} ms")
    return Exit.FINE

"""``fastpubsub serve``: the server, until a signal ends it."""

import os
import socket
from typing import Any

import click

from pubsub.addresses import DEFAULT_ADDRESS, ListenAddress, parse_listen_address
from pubsub.cli.activation import inherited_listeners
from pubsub.cli.exits import run_until_done
from pubsub.cli.flags import duration_from, option_flags, options_from_flags
from pubsub.cli.pipes import STDOUT
from pubsub.errors import ConfigError

__all__ = ["serve"]


@click.command(
    short_help="Run the server.",
    epilog="""\b
Examples:
  fastpubsub serve                                       on 127.0.0.1:8080
  fastpubsub serve :9000                                 on all interfaces
  fastpubsub serve --max-message-bytes 1MiB --ping-interval 30s
  fastpubsub serve --allow-origins https://example.com --allow-origins null
  fastpubsub serve | jq -c 'select(.type == 4)'          who subscribes
""",
)
@click.argument("address", metavar="[ADDR]", required=False)
@click.option("--host", metavar="HOST", help="The host of the address, in place of ADDR's.")
@click.option("--port", metavar="PORT", type=int, help="The port; 0 takes a free one.")
@click.option(
    "--events",
    "events_name",
    type=click.Choice(["json", "lines", "none"]),
    help="Who comes and goes, on stdout. json: an object a line, with clientID, subscriptionTopic and type. "
    "lines: to read. [default: lines on a terminal, else json]",
)
@click.option(
    "--drain-seconds",
    type=duration_from(0.0),
    default="5s",
    show_default=True,
    help="How long to go on delivering what is owed, after a signal; clients are sent away spread over that time.",
)
@option_flags
def serve(
    *,
    address: str | None,
    host: str | None,
    port: int | None,
    events_name: str | None,
    drain_seconds: float,
    **flags: Any,
) -> int:
    """Run the server on ADDR: HOST:PORT, :PORT for all interfaces, or [v6]:PORT.

    Without ADDR, PUBSUB_ADDR counts, then 127.0.0.1:8080. Sockets of systemd's socket activation (LISTEN_FDS) come
    before both. SIGTERM and SIGINT end it once what is owed is delivered; a second signal ends it at once. A DURATION
    is 5s, 500ms or 1m30s, a SIZE 64MiB, 64kB or a number of bytes.
    """
    from pubsub.cli.serving import serve_until_signal

    name = events_name or ("lines" if os.isatty(STDOUT) else "json")
    options = options_from_flags(flags)
    place: ListenAddress | list[socket.socket] = inherited_listeners()
    if not place:
        place = _listen_address(address, host, port)
    elif not (address is None and host is None and port is None):
        raise ConfigError("sockets were given in LISTEN_FDS, and an address besides; leave the address out")
    return run_until_done(serve_until_signal(place, options, events_name=name, drain_seconds=drain_seconds))


def _listen_address(address: str | None, host: str | None, port: int | None) -> ListenAddress:
    """Where to listen: what is nearest wins, flag, ADDR, PUBSUB_ADDR, default, for host and port each."""
    if address is not None:
        place = parse_listen_address(address, name="ADDR")
    elif host is None or port is None:
        place = parse_listen_address(os.environ.get("PUBSUB_ADDR") or DEFAULT_ADDRESS, name="PUBSUB_ADDR")
    else:
        place = ListenAddress("", 0)
    if host is not None:
        place = place._replace(host=host.removeprefix("[").removesuffix("]"))
    if port is not None:
        place = place._replace(port=port)
    return parse_listen_address(str(place), name="--host and --port")

"""What `serve` does once it knows what to do: listen, tell, and end in order.

    serving ── signal ──► draining: what is owed is delivered, for at most --drain-seconds ──► exit 0
                             └── second signal ──► exit at once, with 128 + its number

Signal handlers are installed here and nowhere in the library.
"""

import asyncio
import json
import os
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from pubsub.addresses import ListenAddress
from pubsub.cli.descriptors import connections_allowed, raise_descriptor_limit
from pubsub.cli.eventlines import print_events
from pubsub.cli.exits import Exit
from pubsub.cli.loglines import log_lines
from pubsub.cli.pipes import STDOUT, Output
from pubsub.options import Options
from pubsub.server import Server, serve, serve_inherited
from pubsub.stats import Stats

__all__ = ["serve_until_signal"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# Pending for a slow reader of the events before they are held back, and then dropped, in --event-buffer.
_EVENT_BYTES: Final = 1 << 14

# The events are written while the server drains; this is only for those of the closing itself.
_LAST_EVENTS_SECONDS: Final = 0.5


async def serve_until_signal(
    place: ListenAddress | list[socket.socket], options: Options, *, events_name: str, drain_seconds: float
) -> int:
    """Serve at `place`, or on sockets that listen already, until the first signal; the exit code."""
    raise_descriptor_limit()
    with log_lines() as lines, Output(STDOUT, limit=_EVENT_BYTES) as output, _first_signal() as stopped:
        listening = ListenAddress(*place[0].getsockname()[:2]) if isinstance(place, list) else place
        server = await _serve(place, options)
        listening = listening._replace(port=server.port)
        lines.say(connections_allowed(options.max_connections))
        output.write(_first_line(listening, as_json=events_name == "json"))
        printing = asyncio.create_task(_print_events(server, output, events_name))
        try:
            await stopped.wait()
            lines.say(f"ending within {drain_seconds:g} s; another signal ends it at once")
        finally:
            await server.close(drain=drain_seconds)
            lines.say(_last_line(server.stats()))
            await asyncio.wait([printing], timeout=_LAST_EVENTS_SECONDS)
            printing.cancel()
    return Exit.FINE


async def _serve(place: ListenAddress | list[socket.socket], options: Options) -> Server:
    if isinstance(place, list):
        return await serve_inherited(place, options=options)
    return await serve(place.host, place.port, options=options)


def _first_line(place: ListenAddress, *, as_json: bool) -> bytes:
    url = place.url()
    command = f"fastpubsub sub {shlex.quote(f'{url}/hello')}"
    if as_json:
        return json.dumps({"listening": url, "try": command}).encode() + b"\n"
    everywhere = "" if place.host not in ("", "0.0.0.0", "::") else " (all interfaces)"
    return f"Listening on {url}{everywhere}; try: {command}\n".encode()


def _last_line(stats: Stats) -> str:
    # Why clients left is in no event; who looks into a bad night finds it here.
    departed = ", ".join(f"{count} {cause}" for cause, count in sorted(stats.departures.items())) or "none"
    return f"took {stats.messages} messages, sent {stats.sent_bytes} bytes; departures: {departed}"


async def _print_events(server: Server, output: Output, events_name: str) -> None:
    # That the events cannot be written any more (nobody reads them, the disk is full) is no reason to stop serving.
    with suppress(OSError):
        if events_name == "none":
            await output.flush()
        else:
            await print_events(server.events(), output, as_json=events_name == "json")


@contextmanager
def _first_signal() -> Iterator[asyncio.Event]:
    """An event set by the first SIGTERM or SIGINT; the next one ends the process."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def on_first() -> None:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            # Not the default action: process 1 of a container would ignore the signal then.
            signal.signal(each, _end_at_once)
        stopped.set()

    for each in _SIGNALS:
        loop.add_signal_handler(each, on_first)
    try:
        yield stopped
    finally:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)


def _end_at_once(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)

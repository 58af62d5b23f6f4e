"""A server's events as lines: JSON for programs, or columns for people.

    {"clientID":"bob-6f1c…","subscriptionTopic":"/news","type":4}       {"dropped":12}
    20:50:18 SubscriberJoined        /news  bob-6f1c…                    20:50:19 (dropped: 12)
"""

import json
import time

from pubsub.cli.pipes import Output
from pubsub.events import Event
from pubsub.eventstream import EventStream

__all__ = ["print_events"]


async def print_events(events: EventStream, output: Output, *, as_json: bool) -> None:
    """Print events until their server is closed. A slow reader of the output loses events, and is told how many."""
    told = 0
    async for event in events:
        told = _tell_dropped(events, told, output, as_json=as_json)
        output.write(_line(event, as_json=as_json))
        await output.drain()
    _tell_dropped(events, told, output, as_json=as_json)
    await output.flush()


def _tell_dropped(events: EventStream, told: int, output: Output, *, as_json: bool) -> int:
    """Write how many were dropped since `told` were; the new count."""
    if events.dropped > told:
        output.write(_dropped(events.dropped - told, as_json=as_json))
    return events.dropped


def _line(event: Event, *, as_json: bool) -> bytes:
    if as_json:
        return event.to_json().encode() + b"\n"
    # A client that was refused has no id.
    return f"{_clock()} {event.type.label:<22}  {event.subscription_topic}  {event.client_id or '(no id)'}\n".encode()


def _dropped(count: int, *, as_json: bool) -> bytes:
    if as_json:
        return json.dumps({"dropped": count}, separators=(",", ":")).encode() + b"\n"
    return f"{_clock()} (dropped: {count})\n".encode()


def _clock() -> str:
    return time.strftime("%H:%M:%S")

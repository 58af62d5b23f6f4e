"""What a server can say of itself at any moment."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Stats"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """Counts since the server began, except where it says `now`. Sizes are bytes."""

    connections: int  # now; requests under way included
    publishers: int  # now; a duplex client counts in both
    subscribers: int  # now
    topics: int  # now; those that linger without clients included
    messages: int  # taken from publishers on the wire; each counts once, whatever the number of its subscribers
    message_bytes: int  # their payloads
    ignored_messages: int  # sent by subscribers, and thrown away
    received_bytes: int
    sent_bytes: int
    memory_bytes: int  # now: logs, messages on their way, and chunks that Python works on
    max_memory_bytes: int
    held_publishers: int  # times a publisher was made to wait, because its topic was paced or memory was short
    skipped_messages: int  # that a slow subscriber did not get, under skip and latest; each counts for each of them
    skips: int  # gaps that these make
    events_dropped: int
    departures: Mapping[str, int]  # by cause, such as "closed", "left", "stalled", "no_pong"
    refusals: Mapping[int, int]  # by HTTP status
    limited: Mapping[str, int]  # requests refused and clients closed for a limit, by the option's name

    def to_json(self) -> str:
        document = dataclasses.asdict(self)
        return json.dumps(document, separators=(",", ":"))

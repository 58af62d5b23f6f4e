"""What a soak consists of: its length, its population, and the limits of its server. Options are NAME=VALUE words."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pubsub.options import Options

__all__ = [
    "CUT_OFF",
    "LATEST",
    "RECEIVE_BUFFER_BYTES",
    "STEADY",
    "TIMED",
    "TOPICS",
    "WITH_LAGGARDS",
    "Plan",
    "options_from",
]

# On these everything must arrive; the policies are in _LIMITS.
STEADY = ("/steady/0", "/steady/1", "/steady/2", "/steady/3", "/block/0")
LATEST = ("/skip/0", "/latest/0")
TOPICS = STEADY + LATEST
# Where no slow reader goes: enough of them have the publishers wait, as they should, and latency would tell of that.
TIMED = ("/steady/0", "/steady/1")
WITH_LAGGARDS = ("/steady/2", "/steady/3", *LATEST)

CUT_OFF = "cut_off_"  # how the names of half-open peers begin

# Of all who are to keep up. Left to itself the kernel gives some readers megabytes, and others not; who has them seems
# to keep up when it does not, and the server's pings stand behind them.
RECEIVE_BUFFER_BYTES = 1 << 18

# Small, so that they are met within minutes.
_LIMITS: dict[str, Any] = {
    "ping_interval": 2.0,
    "pong_deadline": 3.0,
    "close_deadline": 2.0,
    "handshake_deadline": 2.0,
    "message_timeout": 4.0,
    "subscriber_write_timeout": 4.0,
    "max_message_bytes": 2 << 20,
    # Pacing wants room between its bound and this one: who happens to be slower than half of the others is not held up.
    "max_lag_bytes": 8 << 20,
    "pace_lag_bytes": 1 << 20,
    "max_memory_bytes": 256 << 20,
    "max_head_bytes": 4096,
    "max_fragments": 2000,
    "max_control_frames": 1000,
    "max_ignored_bytes": 3 << 20,
    "max_topic_bytes": 256,
    "topic_linger": 5.0,
    "max_lingering_topics": 2000,
    "event_buffer": 256,
    "overflow": [
        "/skip/**=skip,max_lag_bytes=1MiB",
        "/latest/**=latest",
        "/block/**=block",
        # A fifth of a second of a flood is 8 MiB, and on this machine a reader may wait longer for its turn.
        "/flood/**=disconnect,max_lag_bytes=32MiB",
    ],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Rates are a second, and of the whole population."""

    minutes: float = 20.0
    seed: int = 1
    out: Path = Path("build/soak")
    message_rate: float = 8.0  # of each steady publisher
    readers: int = 3  # of each steady topic
    visits: float = 120.0  # clients that come and go in all the ways there are
    nonsense: float = 15.0  # clients that break a rule, or send heads that are none
    laggards: float = 1.5  # slow, stalled and silent readers, and messages that never end
    mortals: float = 1.0  # processes that are killed in the middle of a message, or stopped for a while
    crowd_every: float = 20.0  # seconds between two crowds
    crowd: int = 1000  # topics that one crowd brings
    flood_every: float = 45.0  # seconds between two floods
    flood_seconds: float = 4.0
    cables: int = 3  # over each of them clients come that are cut off, all at once and again and again
    delay: float = 0.01  # of the bad wire, in each direction; seconds
    loss: float = 0.005  # of its packets
    wire_visits: float = 4.0  # clients that come and go over it
    limits: dict[str, Any] = field(default_factory=lambda: dict(_LIMITS))

    def options(self) -> Options:
        """The server's."""
        return Options.from_mapping(self.limits)

    def to_document(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "out": str(self.out)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Plan":
        return cls(**{**document, "out": Path(document["out"])})


def options_from(words: Sequence[str]) -> Plan:
    """A plan from `minutes=20 seed=7 out=build/soak io_threads=2`: fields of the plan, and of the server's options.

    Raises ValueError for a word that is neither, and ConfigError for what the server cannot do.
    """
    types: dict[str, Any] = {each.name: each.type for each in dataclasses.fields(Plan) if each.name != "limits"}
    limits = {each.name for each in dataclasses.fields(Options)}
    values: dict[str, Any] = {"limits": dict(_LIMITS)}
    for word in words:
        name, sign, value = word.partition("=")
        if sign and name in types:
            values[name] = types[name](value)
        elif sign and name in limits:
            values["limits"][name] = value
        else:
            raise ValueError(f"{word!r} is no option; give NAME=VALUE of {', '.join(types)}, or a server's option")
    plan = Plan(**values)
    plan.options()
    return plan

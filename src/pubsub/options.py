"""The server's options: names, defaults, and the range each may have.

Durations are float seconds and sizes are bytes. Nothing is clipped in silence: a value that cannot work is a
ConfigError that names value, limit and cure. The command reads `5s`, `500ms` and `64MiB` through `parse_duration` and
`parse_size`.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pubsub.errors import ConfigError, MisuseError, shown
from pubsub.origins import host_patterns, origin_patterns
from pubsub.overflow import BOUNDS, LagTerms, OverflowRule, overflow_rules
from pubsub.units import parse_duration, parse_size

__all__ = ["Options", "check_duration", "checked_options"]

MIB = 1 << 20

# Below 10 ms a timer measures the machine's scheduling rather than the peer.
_SHORTEST = 0.01
# A century: what is longer is a mistake, and could not be counted in nanoseconds for long.
_LONGEST = 100 * 366 * 86400.0
_LARGEST = 1 << 62
_LARGEST_COUNT = (1 << 32) - 1  # as the engine counts
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a server behaves. Frozen: `replace` makes a changed copy. Raises ConfigError for what cannot work.

    Durations, float seconds from 0.01:
      ping_interval             between two pings to one client
      pong_deadline             a client that is silent so long after a ping is gone
      close_deadline            how long to wait for the other half of a closing handshake
      handshake_deadline        for the whole HTTP request to arrive
      subscriber_write_timeout  a subscriber whose socket takes no byte for so long, with data due, is stalled
      message_timeout           from the first byte of a message to its last
      topic_linger              how long an empty topic keeps its epoch and its next offset; 0 for not at all

    Sizes, bytes:
      max_message_bytes         of one message; a larger one closes its publisher with 1009
      max_head_bytes            of an HTTP request before its body
      max_lag_bytes             how far a subscriber may be behind; also max_lag_messages and max_lag_age (None: no
                                such bound)
      pace_lag_bytes            publishers wait while half of the moving subscribers are farther behind than this. The
                                default is half of max_lag_bytes where that is less
      max_memory_bytes          of all messages held; None: a quarter of the machine's memory, or of the cgroup's

    Clients (None: no such limit):
      max_connections           in all, requests under way included; the next ones get 503
      max_connections_per_address  from one IPv4 address, or one /64 of IPv6; never from loopback; 429
      max_upgrades_per_second   that are granted; 503
      max_fragments             frames of one message; 1008
      max_control_frames        pings and pongs of one client in a second; 1008
      max_ignored_bytes         of what a subscriber sends in a second, which nobody gets, 6 bytes for each frame
                                included; 1008

    Topics:
      max_topics                in all, lingering ones included; 503
      max_topic_bytes           of a topic's name, which is the escaped path; 414
      max_new_topics_per_address  that requests from one address may make in a minute (None: no such limit); 429

    Slow subscribers:
      overflow                  what happens to those too far behind, for topics of a pattern: rules such as
                                `/prices/*=latest`, of which the first that matches counts. Policies: disconnect (where
                                no rule matches), skip, latest, block. Also a mapping, or a list of OverflowRule

    Others:
      event_buffer              events held for each reader of events; what does not fit is dropped and counted
      allow_origins             origins of browsers that may connect, besides the server's own: exact (`https://a.example`),
                                with `*` for one label and `**` for any (`https://*.a.example`), or `*` alone for all
      allow_hosts               names that requests may call the server by in their Host header, with the same stars;
                                addresses and localhost are always let in. Empty: any name; 421
      max_lingering_topics      how many empty topics keep their epoch
      lane                      well-formed messages go from socket to log without Python, plain upgrades without
                                wsproto; False: all through wsproto
      io_threads                native threads that serve the sockets without the GIL, up to 16; 0: the event loop does
    """

    ping_interval: float = 20.0
    pong_deadline: float = 10.0
    close_deadline: float = 5.0
    handshake_deadline: float = 5.0
    subscriber_write_timeout: float = 10.0
    message_timeout: float = 30.0
    max_message_bytes: int = 16 * MIB
    max_lag_bytes: int = 64 * MIB
    max_lag_messages: int | None = None
    max_lag_age: float | None = None
    pace_lag_bytes: int = 4 * MIB
    overflow: tuple[OverflowRule, ...] = ()
    max_memory_bytes: int | None = None
    event_buffer: int = 1024
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    topic_linger: float = 300.0
    max_lingering_topics: int = 10_000
    max_head_bytes: int = 16384
    max_connections: int | None = None
    max_connections_per_address: int | None = None
    max_upgrades_per_second: int | None = None
    max_fragments: int | None = 131_072
    max_control_frames: int | None = 10_000
    max_ignored_bytes: int | None = 1 * MIB
    max_topics: int | None = 100_000
    max_topic_bytes: int = 1024
    max_new_topics_per_address: int | None = None
    lane: bool = True
    io_threads: int = 1

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        self._check_pacing()

    def _check_pacing(self) -> None:
        # Pacing must begin before anyone is disconnected for lag, or a flood would lose its subscribers.
        if self.pace_lag_bytes <= self.max_lag_bytes:
            return
        if self.pace_lag_bytes != _DEFAULTS["pace_lag_bytes"]:
            raise ConfigError(
                f"pace_lag_bytes={self.pace_lag_bytes} is over max_lag_bytes={self.max_lag_bytes}; "
                f"give at most half of max_lag_bytes, such as {max(1, self.max_lag_bytes // 2)}"
            )
        object.__setattr__(self, "pace_lag_bytes", max(1, self.max_lag_bytes // 2))

    def lag_terms(self, topic: str) -> LagTerms:
        """How `topic`, an escaped path, treats the slow."""
        terms = LagTerms("disconnect", self.max_lag_bytes, self.max_lag_messages, self.max_lag_age, self.pace_lag_bytes)
        for rule in self.overflow:
            if rule.matches(topic):
                terms = terms._replace(policy=rule.policy, **rule.bounds)
                break
        # As in _check_pacing: publishers wait before a subscriber is over the bound.
        if terms.pace_lag_bytes > terms.max_lag_bytes:
            terms = terms._replace(pace_lag_bytes=max(1, terms.max_lag_bytes // 2))
        return terms

    def replace(self, **changes: Any) -> "Options":
        """A copy with `changes`, checked again. Names as in `from_mapping`."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Options(**(values | _known(changes)))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Options":
        """Options from names and values that come from outside: a file, a command line, a Go program's settings.

        `ping_interval`, `ping-interval` and `PingInterval` are one name. A value may be text, such as `5s` or `64MiB`.
        """
        return cls(**_known(values))


def checked_options(options: object) -> Options:
    """The options that a caller gave; the defaults for None. Raises MisuseError for anything else."""
    if options is None:
        return Options()
    if not isinstance(options, Options):
        cure = "give pubsub.Options(...), or pubsub.Options.from_mapping() of names and values"
        raise MisuseError(f"options={shown(options)} is no Options; {cure}")
    return options


def check_duration(name: str, value: object, *, lowest: float = _SHORTEST, example: str = "20") -> float:
    """`value` as seconds. Raises ConfigError when it is none, or out of range."""
    if isinstance(value, str):
        value = parse_duration(value, name=name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}={shown(value)} is no number of seconds; give a duration such as {example}")
    if value != value:
        raise ConfigError(f"{name}=nan is no number of seconds; give a duration such as {example}")
    if value < lowest:
        raise ConfigError(f"{name}={shown(value)} is below {lowest:g} s; give a duration such as {example}")
    if value > _LONGEST:
        raise ConfigError(f"{name}={shown(value)} is over {_LONGEST:g} s; give a duration such as {example}")
    return float(value)


def _count(name: str, value: object, *, lowest: int, highest: int, cure: str) -> int:
    if isinstance(value, str):
        value = _read_count(name, value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}={shown(value)} is no whole number; give one {cure}")
    if value < lowest:
        raise ConfigError(f"{name}={shown(value)} is below {lowest}; give a number {cure}")
    if value > highest:
        raise ConfigError(f"{name}={shown(value)} is over {highest}; give a number {cure}")
    return value


def _read_count(name: str, text: str) -> int | str:
    """The number; the text itself where it is none. What counts bytes is told so."""
    if name.endswith("_bytes"):
        return parse_size(text, name=name)
    if _WHOLE.fullmatch(text.strip()):
        return int(text)
    try:
        return parse_size(text)
    except ConfigError:
        return text


def _switch(name: str, value: object) -> bool:
    known = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
    switched = value if isinstance(value, bool) else known.get(value.lower()) if isinstance(value, str) else None
    if switched is None:
        raise ConfigError(f"{name}={shown(value)} is neither on nor off; give True or False")
    return switched


def _or_none(check: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _or_off(check: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    """A limit that there need not be: None, or `off` on a command line."""
    return lambda name, value: None if value is None or value == "off" else check(name, value)


def _seconds(*, lowest: float = _SHORTEST, example: str = "20") -> Callable[[str, object], float]:
    return lambda name, value: check_duration(name, value, lowest=lowest, example=example)


def _number(*, lowest: int = 1, highest: int = _LARGEST, example: str) -> Callable[[str, object], int]:
    return lambda name, value: _count(name, value, lowest=lowest, highest=highest, cure=f"such as {example}")


def _few(lowest: int, highest: int) -> Callable[[str, object], int]:
    """So few that an error names all of them."""
    return lambda name, value: _count(name, value, lowest=lowest, highest=highest, cure=f"from {lowest} to {highest}")


def _overflow(_name: str, value: object) -> tuple[OverflowRule, ...]:
    return overflow_rules(value, {name: _CHECKS[name] for name in BOUNDS})


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "ping_interval": _seconds(example="20"),
    "pong_deadline": _seconds(example="10"),
    "close_deadline": _seconds(example="5"),
    "handshake_deadline": _seconds(example="5"),
    "subscriber_write_timeout": _seconds(example="10"),
    "message_timeout": _seconds(example="30"),
    "max_message_bytes": _number(example="16777216"),
    "max_lag_bytes": _number(example="67108864"),
    "max_lag_messages": _or_off(_number(example="100000")),
    "max_lag_age": _or_off(_seconds(example="30")),
    "pace_lag_bytes": _number(example="4194304"),
    "overflow": _overflow,
    # Less than a megabyte does not hold the smallest log and a message on its way.
    "max_memory_bytes": _or_none(_number(lowest=MIB, example="268435456")),
    "event_buffer": _number(example="1024"),
    "allow_origins": origin_patterns,
    "allow_hosts": host_patterns,
    "topic_linger": _seconds(lowest=0.0, example="300"),
    "max_lingering_topics": _number(lowest=0, example="10000"),
    # The head of a browser's upgrade is 400 to 600 bytes without cookies.
    "max_head_bytes": _number(lowest=1024, example="16384"),
    "max_connections": _or_off(_number(example="10000")),
    "max_connections_per_address": _or_off(_number(example="100")),
    "max_upgrades_per_second": _or_off(_number(example="1000")),
    "max_fragments": _or_off(_number(highest=_LARGEST_COUNT, example="131072")),
    "max_control_frames": _or_off(_number(highest=_LARGEST_COUNT, example="10000")),
    "max_ignored_bytes": _or_off(_number(example="1048576")),
    "max_topics": _or_off(_number(example="100000")),
    "max_topic_bytes": _number(example="1024"),
    "max_new_topics_per_address": _or_off(_number(example="100")),
    "lane": _switch,
    "io_threads": _few(0, 16),
}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Options)}

# Sizes of the Go program's channels. A bound of ten messages would disconnect everybody at a burst of eleven.
_GO_CHANNELS = {
    "messagebuffer": "max_lag_bytes (how far a subscriber may be behind, in bytes) or max_lag_messages",
    "subscriberbuffer": "max_lag_bytes (how far a subscriber may be behind, in bytes) or max_lag_messages",
    "publisherbuffer": "pace_lag_bytes (publishers wait while subscribers are farther behind than that)",
}


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


_NAMES = {_folded(name): name for name in _CHECKS}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for given, value in values.items():
        folded = _folded(given)
        if folded in _GO_CHANNELS:
            raise ConfigError(f"{given} has no counterpart here; use {_GO_CHANNELS[folded]} instead")
        name = _NAMES.get(folded)
        if name is None:
            near = difflib.get_close_matches(folded, _NAMES, n=1)
            cure = f"did you mean {_NAMES[near[0]]}?" if near else "the options are " + ", ".join(_CHECKS)
            raise ConfigError(f"{shown(given)} is no option; {cure}")
        if name in known:
            raise ConfigError(f"{name} is given twice, the second time as {shown(given)}; give it once")
        known[name] = value
    return known

"""The flags of `serve` that are the server's options: one for every field of `Options`, made from it.

Options itself reads and checks what is given; here are only the words for --help, and `--ping-interval` in place of
`ping_interval` in errors. A test fails when a field has no words here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, Final

import click

from pubsub.errors import ConfigError
from pubsub.options import Options, check_duration
from pubsub.units import parse_duration, parse_size

__all__ = ["duration", "duration_from", "option_flags", "options_from_flags", "size"]

_HELP: Final = {
    "ping_interval": "Time between two pings to a client.",
    "pong_deadline": "A client silent for so long after a ping is gone.",
    "close_deadline": "How long to wait for the other half of a closing handshake.",
    "handshake_deadline": "How long a whole HTTP request may take to arrive.",
    "subscriber_write_timeout": "A subscriber that takes no byte for so long, with data due, is stalled and closed.",
    "message_timeout": "How long one message may take from its first byte to its last.",
    "max_message_bytes": "The largest message; a larger one closes its publisher.",
    "max_lag_bytes": "How far behind a subscriber may be, in bytes.",
    "max_lag_messages": "How far behind a subscriber may be, in messages.",
    "max_lag_age": "How far behind a subscriber may be, in time.",
    "pace_lag_bytes": "Publishers wait while half of the moving subscribers are farther behind than this.",
    "overflow": "What happens to those too far behind, on topics of a pattern: disconnect, skip, latest or block. "
    "Such as '/prices/*=latest' or '/chat/**=skip,max_lag_messages=100'; repeatable, the first that matches counts.",
    "max_memory_bytes": "The bound of all messages held.",
    "event_buffer": "Events held for each reader of events; what does not fit is dropped and counted.",
    "allow_origins": "An origin whose web pages may connect, such as https://*.example.com, or * for all; repeatable.",
    "allow_hosts": "A name that a request's Host may have, such as live.example.com; addresses and localhost may "
    "always; repeatable.",
    "topic_linger": "How long an empty topic keeps its epoch and its next offset.",
    "max_lingering_topics": "How many empty topics keep them.",
    "max_head_bytes": "The largest HTTP request head.",
    "max_connections": "How many clients may be connected, requests under way included.",
    "max_connections_per_address": "How many from one IPv4 address or one /64 of IPv6; never from loopback.",
    "max_upgrades_per_second": "How many upgrades are granted in a second.",
    "max_fragments": "The most frames of one message.",
    "max_control_frames": "The most pings and pongs of one client in a second.",
    "max_ignored_bytes": "The most that a subscriber may send in a second; nobody gets it.",
    "max_topics": "How many topics there may be, lingering ones included.",
    "max_topic_bytes": "The longest topic, as an escaped path.",
    "max_new_topics_per_address": "How many topics requests from one address may make in a minute.",
    "lane": "Well-formed messages and plain upgrades take a shortcut in C; off, all go through wsproto.",
    "io_threads": "Native threads that serve the sockets, whatever Python does; 0: Python's event loop does it.",
}

# What an absent value stands for; where None is a default, and for empty lists.
_UNSET: Final = {
    "max_memory_bytes": "a quarter of the machine's memory",
    "allow_origins": "the server's own",
    "allow_hosts": "any",
    "overflow": "disconnect, everywhere",
}

# Flags that may be given several times, and what each is called.
_REPEATABLE: Final = {"allow_origins": "ORIGIN", "allow_hosts": "HOST", "overflow": "PATTERN=POLICY"}

_UNITS: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}


def duration(text: str) -> float:
    """`5s`, `500ms` or a plain number of seconds, as a type for click."""
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise click.BadParameter(str(error).removeprefix("duration=")) from error


def duration_from(lowest: float) -> Callable[[str], float]:
    """The same within a range: from `lowest` on, and no more than an option may be."""

    def duration(text: str) -> float:
        try:
            return check_duration("", text, lowest=lowest, example="5s")
        except ConfigError as error:
            raise click.BadParameter(str(error).removeprefix("=")) from error

    return duration


def size(text: str) -> int:
    """`64MiB`, `64kB` or a plain number of bytes, as a type for click."""
    try:
        return parse_size(text)
    except ConfigError as error:
        raise click.BadParameter(str(error).removeprefix("size=")) from error


def option_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` a flag for every field of Options."""
    for field in reversed(fields(Options)):
        command = _flag(field)(command)
    return command


def options_from_flags(flags: Mapping[str, Any]) -> Options:
    """The options that were given; the defaults for the others."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    try:
        return Options.from_mapping(given)
    except ConfigError as error:
        names = "|".join(_HELP)
        # In a rule of --overflow bounds are written as they are here: only the flag itself is the command's.
        count = 1 if str(error).startswith("overflow") else 0
        text = re.sub(rf"\b({names})\b", lambda name: _flag_name(name[1]), str(error), count=count)
        raise ConfigError(text) from error


def _flag(field: Field[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    kind = _kind(field)
    if kind == "SWITCH":
        words = f"{_HELP[field.name]} [default: on]"
        return click.option(f"--{field.name}/--no-{field.name}", default=None, help=words)
    return click.option(
        _flag_name(field.name),
        metavar=kind,
        multiple=field.name in _REPEATABLE,
        help=f"{_HELP[field.name]} [default: {_default_to_text(field, kind)}]",
    )


def _flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def _kind(field: Field[Any]) -> str:
    annotation = str(field.type)  # of the dataclass, or its text under `from __future__ import annotations`
    if field.name in _REPEATABLE:
        return _REPEATABLE[field.name]
    if "bool" in annotation:
        return "SWITCH"
    if "float" in annotation:
        return "DURATION"
    return "SIZE" if field.name.endswith("_bytes") else "NUMBER"


def _default_to_text(field: Field[Any], kind: str) -> str:
    default: Any = field.default
    if default in (None, ()):
        return _UNSET.get(field.name, "off")
    if kind == "DURATION":
        return f"{default:g}s"
    return _size_to_text(default) if kind == "SIZE" else f"{default}"


def _size_to_text(size: int) -> str:
    for unit, factor in _UNITS.items():
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}"

"""Durations and sizes as people write them: `5s`, `1m30s`, `64MiB`."""

import math
import re

from pubsub.errors import ConfigError, shown

__all__ = ["parse_duration", "parse_size"]

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|us|µs|ns|s)")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")

# A bare k, M or G is taken as most servers' settings take it, in powers of 1024.
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9} | {
    unit: 1 << shift for shift, units in ((10, "k kib"), (20, "m mib"), (30, "g gib")) for unit in units.split()
}
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([a-z]*)")


def parse_duration(text: str, *, name: str = "duration") -> float:
    """Seconds from `5s`, `500ms`, `1m`, `1m30s` (as Go writes durations) or a plain number of seconds."""
    stripped = text.strip()
    if _PLAIN_NUMBER.fullmatch(stripped):
        return float(stripped)
    parts = _DURATION_PART.findall(stripped)
    if not parts or "".join(number + unit for number, unit in parts) != stripped:
        raise ConfigError(f"{name}={shown(text)} is no duration; give one such as 5s, 500ms or 1m30s")
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size(text: str, *, name: str = "size") -> int:
    """Bytes from `64MiB`, `64kB` or `1048576`."""
    match = _SIZE.fullmatch(text.strip().lower())
    factor = _BYTES.get(match[2]) if match else None
    if match is None or factor is None:
        raise ConfigError(f"{name}={shown(text)} is no size; give one such as 64MiB, 64kB or 1048576")
    if "." not in match[1]:
        return int(match[1]) * factor
    return int(float(match[1]) * factor)

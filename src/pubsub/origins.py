"""Whose web pages may connect (RFC 6454), and by which names they may call the server.

    origin     https://a.example         as it is in the Origin header: scheme, host, and a port that is not the usual
    host       a.example                 as it is in the Host header; of the port nothing is said
    `*`        https://*.a.example       one label of a host, or a port
    `**`       **.a.example              any number of labels

Neither star reaches over `://`, and alone each means all.

A host is worth a look, too: a page can have its own name point to another's machine (DNS rebinding), and its Origin and
Host are then the same. What no page can have pointed elsewhere are addresses and `localhost`.

Who may come is whoever sends a request, so what is matched has a bound: patterns with several `**` take the square of
its length.
"""

import functools
import ipaddress
import re

from pubsub.errors import ConfigError, shown

__all__ = ["host_patterns", "is_allowed_host", "is_allowed_origin", "is_origin_of", "origin_patterns"]

# --- options --------------------------------------------------------------------------------------------------------

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+")
_HOST = re.compile(r"[a-z0-9_.*-]+")


def origin_patterns(name: str, value: object) -> tuple[str, ...]:
    """What an option of this name may be given: a list, or a text with blanks or commas between."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    return tuple(_origin(name, each) for each in _listed(name, value, "origins", "https://example.com"))


def host_patterns(name: str, value: object) -> tuple[str, ...]:
    """The same for names of hosts, but in a text with commas between alone."""
    if isinstance(value, str):
        names = [each.strip() for each in value.split(",") if each.strip()]
        if not names:
            # Of a variable that is not set, say; and none would mean any.
            raise ConfigError(f"{name}={shown(value)} has no name; give one such as example.com, or * for all")
        value = names
    return tuple(_host(name, each) for each in _listed(name, value, "host names", "example.com"))


def _listed(name: str, value: object, what: str, example: str) -> list[object] | tuple[object, ...]:
    if isinstance(value, list | tuple):
        return value
    raise ConfigError(f"{name}={shown(value)} is no list of {what}; give one such as ('{example}',)")


def _origin(name: str, value: object) -> str:
    text = value.lower().removesuffix("/") if isinstance(value, str) else ""
    if text in ("*", "**", "null") or _ORIGIN.fullmatch(text):
        return text
    raise ConfigError(
        f"{name}: {shown(value)} is no origin; give scheme and host without a path, "
        f"such as https://example.com or https://*.example.com, or * for all"
    )


def _host(name: str, value: object) -> str:
    text = value.lower() if isinstance(value, str) else ""
    host = text.removesuffix(".")
    if text in ("*", "**") or (_HOST.fullmatch(host) and host.strip("*.")):
        return host
    raise ConfigError(
        f"{name}: {shown(value)} is no name of a host; give one without scheme and port, as browsers send it (xn--... "
        f"for other scripts), such as example.com or *.example.com, or * for all"
    )


# --- requests -------------------------------------------------------------------------------------------------------

_HOST_MAX = 253  # RFC 1035 section 2.3.4, without the last dot
_ORIGIN_MAX = 300  # with a scheme and a port
_DEFAULT_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


def is_origin_of(origin: str, host: str) -> bool:
    """Whether an Origin, in lower case, is the one of a Host header."""
    scheme, mark, authority = origin.partition("://")
    # A proxy may have taken the TLS off, so the scheme of the Origin, not of this connection, says what no port means.
    port = _DEFAULT_PORTS.get(scheme, "")
    return bool(mark and port) and _split(authority, port) == _split(host.lower(), port)


def is_allowed_origin(origin: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns is for this Origin, in lower case."""
    return bool(patterns) and len(origin) <= _ORIGIN_MAX and _pattern(patterns).fullmatch(origin) is not None


def is_allowed_host(host: str, patterns: tuple[str, ...]) -> bool:
    """Whether a Host header has an address, `localhost`, or a name that a pattern is for."""
    name, _ = _split(host.lower(), "")
    name = name.removesuffix(".")
    # RFC 6761 section 6.3: nobody is asked what localhost is. What is below it some browsers do ask for.
    if name == "localhost" or _is_address(name):
        return True
    return len(name) <= _HOST_MAX and _pattern(patterns).fullmatch(name) is not None


def _split(authority: str, default: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    if colon and port.isdecimal():
        return host, str(int(port[:6]))
    # "example.com:" is "example.com" (RFC 3986 section 3.2.3).
    return authority.removesuffix(":"), default


def _is_address(name: str) -> bool:
    if "%" in name:
        return False  # a zone, which is of no use to anybody else, may have any name
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=64)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_expression(each)})" for each in patterns))


_STARS = {"**": "[^/]*", "*": "[^/.:]+"}


def _expression(pattern: str) -> str:
    if pattern in _STARS:
        return ".*"
    return "".join(_STARS.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*)", pattern))

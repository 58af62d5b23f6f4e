"""What can go wrong, by who is at fault.

    PubSubError
    ├── ConfigError            the operator: an option, an address, a variable of the environment
    ├── MisuseError            the caller: an argument, or a call at the wrong time
    ├── PeerError              the other side: it broke the protocol; `code` is the Close code that goes with it
    │   ├── UpgradeRefused     the server answered with something other than a WebSocket: status, headers, body
    │   ├── UnhandledMessageType   a text message came where only binary ones are wanted
    │   └── NoPong             the server took nothing and answered nothing for too long (a TimeoutError as well)
    ├── ConnectFailed          nobody: the server could not be reached (an OSError as well)
    ├── ConnectionClosed       nobody: the connection is over; code, reason, who closed it, whether to come back
    ├── Overloaded             nobody: no memory left for messages; wait for room and try again
    └── TooFarBehind           the caller's reader in the server's own process: it was too slow, and has ended

A text names the value, the limit and the cure.
"""

import enum
from collections.abc import Iterable

from pubsub.closing import INTERNAL, PROTOCOL_ERROR, UNSUPPORTED, closing

__all__ = [
    "ClosedBy",
    "ConfigError",
    "ConnectFailed",
    "ConnectionClosed",
    "MisuseError",
    "NoPong",
    "Overloaded",
    "PeerError",
    "PubSubError",
    "TooFarBehind",
    "UnhandledMessageType",
    "UpgradeRefused",
    "shown",
]

# Long enough to recognise a value by, short enough for one line of a log.
_SHOWN_CHARACTERS = 80


def shown(value: object) -> str:
    """`value` as it may stand in an error or a log: its repr, ASCII only, at most 80 characters."""
    try:
        text = ascii(value[: _SHOWN_CHARACTERS + 1] if isinstance(value, str | bytes) else value)
    except ValueError:
        # Python writes no int of more than some thousand digits.
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


class PubSubError(Exception):
    """Everything this package raises on its own account."""


class ConfigError(PubSubError):
    """An option or an address that cannot be used. The command prints it and exits with 2."""


class MisuseError(PubSubError):
    """The caller's mistake: a bad argument, or a call at the wrong time."""


class PeerError(PubSubError):
    """The other side broke the protocol. `code` is the Close code that RFC 6455 names for it."""

    def __init__(self, text: str, *, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


class UpgradeRefused(PeerError):
    """The server did not open a WebSocket. `status`, `headers` (names in lower case) and `body` are its answer."""

    def __init__(self, status: int, body: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        self.status = status
        self.body = body
        self.headers = tuple(headers)
        line = body.strip().partition("\n")[0]
        super().__init__(f"the server refused the upgrade with status {status}" + (f": {line}" if line else ""))


class UnhandledMessageType(PeerError):
    """A text message came to a subscriber that takes only binary ones (`text=False`)."""

    def __init__(self, text: str) -> None:
        super().__init__(text, code=UNSUPPORTED)


class NoPong(PeerError, TimeoutError):
    """No answer to a ping, and no sign that the peer takes what is sent. A TimeoutError too."""

    def __init__(self, text: str) -> None:
        super().__init__(text, code=INTERNAL)


class ConnectFailed(PubSubError, OSError):
    """The server could not be reached, or did not answer in time. An OSError too; `__cause__` has the first one."""


class ClosedBy(enum.Enum):
    """Who ended a connection."""

    US = "us"
    PEER = "peer"
    NETWORK = "network"


class ConnectionClosed(PubSubError):
    """The connection is over.

    `code` and `reason` are those of the Close frame: 1005 when it had none, 1006 when the connection was lost without
    one. `by` says who ended it, `come_back` whether it makes sense to connect again.
    """

    def __init__(self, code: int, reason: str = "", *, by: ClosedBy) -> None:
        self.code = code
        self.reason = reason
        self.by = by
        row = closing(code)
        self.come_back = row.come_back
        who = {ClosedBy.US: "closed by us", ClosedBy.PEER: "closed by the peer", ClosedBy.NETWORK: "lost"}[by]
        super().__init__(f"connection {who} with code {code} ({reason or row.reason})")


class Overloaded(PubSubError):
    """The memory for messages is full and nothing was published. Wait for room and publish again."""


class TooFarBehind(PubSubError):
    """A reader of `server.subscribe()` was over a bound for lag, or the farthest behind at the memory limit."""

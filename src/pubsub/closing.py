"""Close codes: the one table that server and clients read.

What a WebSocket Close code means here, what a metric calls it, and whether a client that was closed with it should
connect again. RFC 6455 section 7.4 and the IANA registry give codes up to 2999; from 3000 on they belong to libraries
and programs.
"""

from dataclasses import dataclass
from types import MappingProxyType

__all__ = [
    "ABNORMAL",
    "BAD_DATA",
    "GOING_AWAY",
    "INTERNAL",
    "MANDATORY_EXTENSION",
    "NORMAL",
    "NO_STATUS",
    "POLICY",
    "PROTOCOL_ERROR",
    "RESTART",
    "TABLE",
    "TLS_FAILED",
    "TOO_BIG",
    "TRY_LATER",
    "UNSUPPORTED",
    "Closing",
    "closing",
    "may_be_sent",
]

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED = 1003
NO_STATUS = 1005
ABNORMAL = 1006
BAD_DATA = 1007
POLICY = 1008
TOO_BIG = 1009
MANDATORY_EXTENSION = 1010
INTERNAL = 1011
RESTART = 1012
TRY_LATER = 1013
TLS_FAILED = 1015


@dataclass(frozen=True, slots=True)
class Closing:
    """One row of the table. `reason` is for people, `label` for metrics; `come_back` says whether to connect again."""

    code: int
    reason: str
    label: str
    come_back: bool


TABLE = MappingProxyType(
    {
        row.code: row
        for row in (
            Closing(NORMAL, "normal", "normal", False),
            Closing(GOING_AWAY, "going away", "going_away", True),
            Closing(PROTOCOL_ERROR, "protocol error", "protocol_error", False),
            Closing(UNSUPPORTED, "kind of message not accepted", "unsupported", False),
            Closing(NO_STATUS, "closed without a code", "no_status", False),
            Closing(ABNORMAL, "connection lost without a Close", "abnormal", True),
            Closing(BAD_DATA, "text that is not UTF-8", "bad_data", False),
            Closing(POLICY, "against the server's policy", "policy", False),
            Closing(TOO_BIG, "message too big", "too_big", False),
            Closing(MANDATORY_EXTENSION, "extension missing", "mandatory_extension", False),
            # The server closes with 1011 when a pong is missing: the client, or the way to it, was away for a while.
            Closing(INTERNAL, "no pong, or an internal error", "internal", True),
            Closing(RESTART, "restarting", "restart", True),
            Closing(TRY_LATER, "too slow or too full, try again later", "try_later", True),
            Closing(TLS_FAILED, "TLS failed", "tls_failed", False),
        )
    }
)

# RFC 6455 section 7.4.1: they stand for a Close that was not sent, or had no code, and are never on the wire.
_NEVER_SENT = frozenset({NO_STATUS, ABNORMAL, TLS_FAILED})

# Nothing defines whether a client should come back after a code of a library (3000 to 3999) or of a program (4000 to
# 4999). Centrifugo's convention is the only one in wide use: the lower half of each thousand means yes, the upper no.
_PRIVATE = range(3000, 5000)


def closing(code: int) -> Closing:
    """The row for `code`; for a code that is not in the table, one made from its range."""
    row = TABLE.get(code)
    if row is not None:
        return row
    if code in _PRIVATE:
        return Closing(code, "closed by the application", "application", code % 1000 < 500)
    return Closing(code, "unknown close code", "unknown", False)


def may_be_sent(code: int) -> bool:
    """Whether `code` may stand in a Close frame."""
    return (code in TABLE and code not in _NEVER_SENT) or code in _PRIVATE

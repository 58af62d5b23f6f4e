"""What a request asks for, and whether it may have it.

The order in which a request is judged, and what a refusal tells the server's events:

    head      not HTTP/1.1 as it should be, a body, a bad key     400 or 431, no event      http_door.py
    topic     longer than max_topic_bytes                         414, no event
    role      none, unknown, or not in agreement                  400, BadHTTPHeaders
    upgrade   no Upgrade header: 426; else                        400, UpgradeFailed        http_door.py
    protocol  only subprotocols that are unknown here             400, UpgradeFailed
    Host      not one of allow_hosts                              421, UpgradeFailed
    Origin    a browser's page from elsewhere                     403, UpgradeFailed
    name      not a client name                                   400, BadHTTPHeaders
    policy    (401, 403, 404, 429, 503: the server's, after `admit`; gate.py)

Browsers cannot set headers, so a role, and a name, may come in several places: every place given must say the same.
"""

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pubsub.errors import shown
from pubsub.events import EventType
from pubsub.options import Options
from pubsub.origins import is_allowed_host, is_allowed_origin, is_origin_of

__all__ = [
    "Admission",
    "Headers",
    "Refusal",
    "Request",
    "Role",
    "admit",
    "bad_request",
    "bad_target",
    "fault_of_name",
    "fault_of_topic",
    "host_of_target",
    "role_named",
    "role_of",
    "topic_of",
    "try_later",
]

Headers = Sequence[tuple[bytes, bytes]]


class Role(enum.Flag):
    """What a client does on its topic. CHECK does nothing: it only wants to know whether there is a server."""

    CHECK = 0
    PUBLISHER = 1
    SUBSCRIBER = 2
    DUPLEX = 3


class Request(NamedTuple):
    """A request as it came. `headers` have their names in lower case; Host and subprotocols stand apart from them.

    `host` is that of the target where the target is a whole URL (RFC 9112 section 3.2.2), else the Host header's.
    """

    target: str
    host: str
    headers: Headers
    subprotocols: tuple[str, ...] = ()


class Admission(NamedTuple):
    """What an accepted request gets."""

    topic: str
    role: Role
    name: str
    subprotocol: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that gets no WebSocket, and what to tell the server's events (None: nothing)."""

    status: int
    body: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    event: EventType | None = None
    topic: str = ""
    head_only: bool = False
    limit: str = ""  # the option that it was over

    def to_body(self) -> bytes:
        """The one line, ASCII."""
        return f"{self.body}\n".encode("ascii", "backslashreplace")

    def to_bytes(self) -> bytes:
        """The whole HTTP/1.1 response. The connection ends with it."""
        body = self.to_body()
        # RFC 9110 section 7.8: who sends Upgrade names it in Connection as well.
        connection = b"close, Upgrade" if any(name == b"Upgrade" for name, _ in self.headers) else b"close"
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode("ascii"),
            b"Connection: " + connection,
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Length: %d" % len(body),
            *(name + b": " + value for name, value in self.headers),
            b"",
            # RFC 9110 section 9.3.2: the answer to HEAD has the head of the answer to GET, and no body.
            b"" if self.head_only else body,
        ]
        return b"\r\n".join(lines)


def admit(request: Request, options: Options, *, role: str | None = None) -> Admission | Refusal:
    """Judges a request whose upgrade is sound: role, subprotocol, Host, Origin, name, in this order. With `role` the
    program has decided on that, and what the request says of it does not count."""
    topic = topic_of(request.target)
    if topic is None:
        return bad_target(request.target)
    fault = fault_of_topic(topic, options.max_topic_bytes)
    if fault is not None:
        return Refusal(414, f"{fault}, or raise it with --max-topic-bytes", limit="max_topic_bytes")
    return _admit(request, options, topic, role_of(request, topic) if role is None else role_named(role))


def _admit(request: Request, options: Options, topic: str, role: Role | Refusal) -> Admission | Refusal:
    if isinstance(role, Refusal):
        return role
    subprotocol = _subprotocol(request.subprotocols, role)
    if subprotocol is None and request.subprotocols:
        return Refusal(
            400,
            f"Sec-WebSocket-Protocol {shown(', '.join(request.subprotocols))} offers nothing known here; "
            f"offer pubsub.{_role_name(role)} or pubsub, or leave the header out",
            event=EventType.WEBSOCKET_UPGRADE_FAILED,
            topic=topic,
        )
    refusal = _foreign(request, options, topic)
    if refusal is not None:
        return refusal
    name = _name_of(request, topic)
    if isinstance(name, Refusal):
        return name
    return Admission(topic, role, name, subprotocol)


# --- topic ---

# RFC 9112 section 3.2: origin-form, or absolute-form, whose authority stands in for the Host header.
_ABSOLUTE = re.compile(r"(?:http|https|ws|wss)://([^/?]*)(.*)", re.IGNORECASE)


def topic_of(target: str) -> str | None:
    """The escaped path of a request's target; None when the target is neither a path nor a URL."""
    if not target.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            return None
        target = absolute[2]
    if "#" in target:
        return None
    return target.partition("?")[0] or "/"


def host_of_target(target: str) -> str | None:
    """The authority of an absolute-form target, else None."""
    if target.startswith("/"):
        return None
    absolute = _ABSOLUTE.fullmatch(target)
    return None if absolute is None else absolute[1]


def try_later(body: str, *, status: int = 503, wait: int = 1, limit: str = "") -> Refusal:
    """For who may come again after `wait` seconds."""
    return Refusal(status, body, ((b"Retry-After", b"%d" % wait),), limit=limit)


def bad_request(body: str, *, topic: str = "", event: EventType | None = None, head_only: bool = False) -> Refusal:
    return Refusal(400, body, event=event, topic=topic, head_only=head_only)


def fault_of_topic(topic: str, limit: int) -> str | None:
    """What is wrong with the length of an escaped path, and the cure."""
    if len(topic) <= limit:
        return None
    return f"topic of {len(topic)} bytes is over max_topic_bytes={limit}; choose a shorter path"


def bad_target(target: str) -> Refusal:
    return bad_request(f"request target {shown(target)} is no path; ask for the topic's path, such as GET /prices")


# --- role ---

_ROLES = {"publisher": Role.PUBLISHER, "subscriber": Role.SUBSCRIBER, "duplex": Role.DUPLEX, "check": Role.CHECK}
_SUBPROTOCOL_ROLES = {f"pubsub.{name}": role for name, role in _ROLES.items()}
_ROLE_NAMES = {role: name for name, role in _ROLES.items()}
_ROLE_CURE = "send publisher, subscriber or duplex as header pubsub, query pubsub or subprotocol pubsub.ROLE"


def role_named(name: str) -> Role:
    """Publisher, subscriber or duplex; CHECK for any other name."""
    return _ROLES.get(name, Role.CHECK)


def _role_name(role: Role) -> str:
    return _ROLE_NAMES[role]


def role_of(request: Request, topic: str) -> Role | Refusal:
    """The role that header, subprotocol and query agree on."""
    found: Role | None = None
    for given in _roles_given(request):
        role = _ROLES.get(given)
        if role is None:
            return _bad_role(f"role {shown(given)} is unknown", topic)
        if found is not None and role is not found:
            return _bad_role(f"roles {_role_name(found)} and {given} disagree", topic, "say the same in every place")
        found = role
    return _bad_role("no role is given", topic) if found is None else found


def _bad_role(fault: str, topic: str, cure: str = _ROLE_CURE) -> Refusal:
    return bad_request(f"{fault}; {cure}", topic=topic, event=EventType.BAD_HTTP_HEADERS)


def _roles_given(request: Request) -> Iterator[str]:
    for name, value in request.headers:
        if name == b"pubsub":
            yield value.decode("ascii", "backslashreplace")
    for offered in request.subprotocols:
        role = _SUBPROTOCOL_ROLES.get(offered)
        if role is not None:
            yield _role_name(role)
            # A client that can be several things offers several: the first is what it wants most.
            break
    yield from _query_values(request.target, b"pubsub")


def _query_values(target: str, wanted: bytes) -> Iterator[str]:
    _, mark, query = target.partition("?")
    if not mark:
        return
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote_to_bytes(name) == wanted:
            yield unquote_to_bytes(value).decode("ascii", "backslashreplace")


def _subprotocol(offered: Sequence[str], role: Role) -> str | None:
    own = f"pubsub.{_role_name(role)}"
    if own in offered:
        return own
    return "pubsub" if "pubsub" in offered else None


# --- where it is from ---


def _foreign(request: Request, options: Options, topic: str) -> Refusal | None:
    if options.allow_hosts and not is_allowed_host(request.host, options.allow_hosts):
        # RFC 9110 section 15.5.20: not what this server answers for.
        body = f"Host {shown(request.host)} is not in allow_hosts; add it with --allow-hosts"
        return Refusal(421, body, event=EventType.WEBSOCKET_UPGRADE_FAILED, topic=topic)
    # RFC 6454 section 7.3 allows one Origin; with more, each must be allowed.
    for name, value in request.headers:
        if name == b"origin":
            origin = value.decode("ascii", "backslashreplace").lower()
            if not is_origin_of(origin, request.host) and not is_allowed_origin(origin, options.allow_origins):
                body = (
                    f"Origin {shown(origin)} is neither this host, {shown(request.host)}, nor in allow_origins; "
                    f"add it with --allow-origins"
                )
                return Refusal(403, body, event=EventType.WEBSOCKET_UPGRADE_FAILED, topic=topic)
    return None


# --- name ---

_NAME = re.compile(r"[A-Za-z0-9._~-]*")
_NAME_CURE = "give at most 64 characters of A-Z a-z 0-9 . _ ~ -"


def fault_of_name(name: str) -> str | None:
    """What is wrong with a client's name, and the cure; None when it may be used."""
    if len(name) > 64:
        return f"client name {shown(name)} has {len(name)} characters; {_NAME_CURE}"
    if _NAME.fullmatch(name) is None:
        return f"client name {shown(name)} has characters that names cannot have; {_NAME_CURE}"
    return None


def _name_of(request: Request, topic: str) -> str | Refusal:
    found = ""
    for given in _names_given(request):
        fault = fault_of_name(given)
        if fault is None and found and given and given != found:
            fault = f"client names {shown(found)} and {shown(given)} disagree; say the same in header and query"
        if fault is not None:
            return bad_request(fault, topic=topic, event=EventType.BAD_HTTP_HEADERS)
        found = found or given
    return found


def _names_given(request: Request) -> Iterator[str]:
    for name, value in request.headers:
        if name == b"pubsub-client-name":
            yield value.decode("ascii", "backslashreplace")
    yield from _query_values(request.target, b"name")

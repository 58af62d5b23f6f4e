"""The answer to a request that is no upgrade: same bytes, read by h11, refused with one line that says what to do.

wsproto says only that it does not take a request. Here the request is judged again in the order of handshake.py: head,
role, upgrade. The checks of the head that wsproto does not make are here too, for every request.
"""

import binascii
import re
from typing import cast

import h11

from pubsub.errors import shown
from pubsub.events import EventType
from pubsub.handshake import Headers, Refusal, Request, bad_request, bad_target, host_of_target, role_of, topic_of

__all__ = ["check_head", "check_headers", "has_controls", "head_too_large", "host_in", "judge", "refuse"]

# RFC 6455 section 4.4: the one version there is.
_VERSION = (b"Sec-WebSocket-Version", b"13")
_UPGRADE = (b"Upgrade", b"websocket")

_HOST_LINE = re.compile(rb"\n[Hh][Oo][Ss][Tt]:[ \t]*([^\r\n]*)")
# RFC 3986 section 3.2: a name or an address, and a port. No user: a request has no business with one here. A name has
# at most 253 characters; wsproto decodes it as IDNA, whose time grows with the square of the length.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]{0,255}|\[[0-9A-Fa-f:.]{2,64}\])(?::[0-9]{0,8})?[ \t]*")


# Nowhere allowed in a head (RFC 9110 section 5.5), and h11 takes none; but on its way to say so of a header with many
# blanks before one, its time grows with the square of their number: a second for 16 KiB.
_CONTROLS = re.compile(rb"[\0\x0b\x0c]|\r(?!\n)")


def has_controls(head: bytes) -> bool:
    """Whether there is a byte in it for which h11 would refuse it, perhaps after a long time."""
    return _CONTROLS.search(head) is not None


def head_too_large(limit: int) -> Refusal:
    cure = "send fewer or shorter headers, or raise it with --max-head-bytes"
    return Refusal(431, f"request head is over max_head_bytes={limit}; {cure}", limit="max_head_bytes")


def check_head(head: bytes) -> Refusal | None:
    """What can be said of a head without parsing it."""
    line = head.partition(b"\n")[0].rstrip(b"\r")
    if not line.endswith(b" HTTP/1.1"):
        return bad_request(f"request line {shown(_text(line))} is not HTTP/1.1's; send GET /TOPIC HTTP/1.1")
    if not head.isascii():
        return bad_request("request head has bytes that are not ASCII; percent-encode them")
    if has_controls(head):
        return bad_request("request head has control characters; send printable ones, and CR before LF only")
    if b"\n " in head or b"\n\t" in head:
        # RFC 9112 section 5.2: folded headers are to be refused.
        return bad_request("a header goes on over the end of its line; send each on one line")
    host = _HOST_LINE.search(head)
    if host is not None and _HOST.fullmatch(host[1]) is None:
        return bad_request(f"Host {shown(_text(host[1]))} is no host; send HOST or HOST:PORT")
    return None


def host_in(head: bytes) -> str:
    """The Host header as it was sent, of a head that has one and that `check_head` passed."""
    found = _HOST_LINE.search(head)
    return "" if found is None else _text(found[1].rstrip(b" \t"))


def check_headers(headers: Headers) -> Refusal | None:
    """What wsproto and h11 let pass, and the handshake must not."""
    keys = 0
    for name, value in headers:
        if name == b"sec-websocket-key":
            keys += 1
            if not _is_key(value):
                return bad_request(f"Sec-WebSocket-Key {shown(_text(value))} is not base64 of 16 bytes; send such")
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            return bad_request(f"{_text(name)} {shown(_text(value))} announces a body; send the upgrade without one")
    if keys > 1:
        return bad_request(f"Sec-WebSocket-Key is there {keys} times; send one")
    return None


def refuse(head: bytes, fault: str) -> Refusal:
    """The refusal of a head that `check_head` passed and wsproto did not; `fault` is what wsproto said."""
    try:
        request, method = _parse(head)
    except (h11.RemoteProtocolError, ValueError) as error:
        return bad_request(f"request head is not HTTP/1.1: {shown(str(error))}; send a well-formed one")
    # For one: of several Connection headers, wsproto reads the last.
    cure = "send each header of the upgrade once, as RFC 6455 section 4.1 has them"
    return check_headers(request.headers) or judge(request, method, f"{fault}; {cure}")


def _parse(head: bytes) -> tuple[Request, bytes]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
    connection.receive_data(head)
    # The head is complete, so this is its request or an error.
    event = cast(h11.Request, connection.next_event())
    headers = [(name, value) for name, value in event.headers]
    target = event.target.decode("ascii")
    host = host_of_target(target)
    if host is None:
        host = _decoded(next(value for name, value in headers if name == b"host"))
    offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol")
    return Request(target, host, headers, tokens(offered)), event.method


def _decoded(host: bytes) -> str:
    # As wsproto does it: what it cannot read is a fault of the head.
    try:
        return host.decode("idna")
    except UnicodeError:
        raise ValueError(f"Host {_text(host)} is not IDNA") from None


def tokens(value: bytes) -> tuple[str, ...]:
    """The members of a comma-separated header, without the empty ones (RFC 9110 section 5.6.1)."""
    return tuple(token for token in (each.strip() for each in _text(value).split(",")) if token)


def judge(request: Request, method: bytes, fault: str) -> Refusal:
    """Why this well-formed request opens no WebSocket; `fault`, with its cure, where nothing here says it."""
    topic = topic_of(request.target)
    if topic is None:
        return bad_target(request.target)
    head_only = method == b"HEAD"
    role = role_of(request, topic)
    if isinstance(role, Refusal):
        return bad_request(role.body, topic=topic, event=role.event, head_only=head_only)
    status, body = _upgrade_fault(request, method, fault)
    # RFC 9110 section 15.5.22: 426 must say what to upgrade to.
    headers = (_UPGRADE, _VERSION) if status == 426 else ()
    return Refusal(status, body, headers, EventType.WEBSOCKET_UPGRADE_FAILED, topic, head_only)


def _upgrade_fault(request: Request, method: bytes, fault: str) -> tuple[int, str]:
    def values(wanted: bytes) -> bytes:
        return b",".join(value for name, value in request.headers if name == wanted)

    upgrade, version = values(b"upgrade"), values(b"sec-websocket-version")
    if not upgrade:
        return 426, "a topic speaks WebSocket only; connect with a WebSocket client (ws://), such as fastpubsub sub"
    if method != b"GET":
        return 400, f"method {shown(_text(method))} opens no WebSocket; send GET"
    if upgrade.strip().lower() != b"websocket":
        return 400, f"Upgrade {shown(_text(upgrade))} is not spoken here; send Upgrade: websocket"
    if "upgrade" not in (token.lower() for token in tokens(values(b"connection"))):
        return 400, f"Connection {shown(_text(values(b'connection')))} has no Upgrade; send Connection: Upgrade"
    if version != b"13":
        status = 426 if version else 400
        return status, f"Sec-WebSocket-Version {shown(_text(version))} is not 13; send Sec-WebSocket-Version: 13"
    if not values(b"sec-websocket-key"):
        return 400, "Sec-WebSocket-Key is missing; send 16 random bytes in base64"
    return 400, fault


def _is_key(value: bytes) -> bool:
    # RFC 6455 section 4.2.1: base64 that decodes to 16 bytes, which is always 24 characters.
    if len(value) != 24:
        return False
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == 16
    except binascii.Error:
        return False


def _text(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace")

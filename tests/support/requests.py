"""Requests as clients send them, what a server makes of them, and bytes cut where the network may cut them."""

from collections.abc import Iterator

from hypothesis import strategies as st

from pubsub.handshake import Admission, Refusal, admit
from pubsub.options import Options
from pubsub.upgrade import ServerUpgrade

__all__ = [
    "KEY",
    "ROLE",
    "admission",
    "assert_says_value_limit_and_cure",
    "cut",
    "cuts",
    "judge",
    "refusal",
    "upgrade_head",
]

# RFC 6455 section 1.3's own example; its accept token is s3pPLMBiTxaQ9kYGzzhZRbK+xOo=.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ROLE = ("pubsub", "subscriber")


def upgrade_head(
    *extra: tuple[str, str], target: str = "/prices", without: tuple[str, ...] = (), line: str | None = None
) -> bytes:
    """The head of an upgrade: what RFC 6455 asks for, less `without`, plus `extra` (no role unless it is there)."""
    headers = [
        ("Host", "example.com:8080"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]
    left = [(name, value) for name, value in headers if name not in without] + list(extra)
    lines = [line or f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in left), "", ""]
    return "\r\n".join(lines).encode("utf-8")


def judge(head: bytes, options: Options | None = None) -> Admission | Refusal:
    """What a server makes of a whole request."""
    outcome = ServerUpgrade().receive(head)
    assert outcome is not None
    return outcome if isinstance(outcome, Refusal) else admit(outcome, options or Options())


def admission(head: bytes, options: Options | None = None) -> Admission:
    outcome = judge(head, options)
    assert isinstance(outcome, Admission), outcome
    return outcome


def refusal(head: bytes, options: Options | None = None) -> Refusal:
    outcome = judge(head, options)
    assert isinstance(outcome, Refusal), outcome
    assert_says_value_limit_and_cure(outcome)
    return outcome


def assert_says_value_limit_and_cure(refused: Refusal) -> None:
    assert refused.body.isascii()
    assert refused.body.isprintable()
    assert "; " in refused.body
    head, _, body = refused.to_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % refused.status)
    assert b"\r\nContent-Length: %d\r\n" % (len(refused.body) + 1) in head + b"\r\n"
    assert body in (b"", refused.body.encode() + b"\n")
    assert b"\r\nConnection: close" in head


def cuts() -> st.SearchStrategy[list[int]]:
    """Sizes of pieces, to be used one after the other, again and again."""
    return st.lists(st.integers(1, 40), min_size=1, max_size=8)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at, turn = at + size, turn + 1

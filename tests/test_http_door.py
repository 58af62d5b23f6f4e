"""What is no upgrade, and what is no request: the status, the event, and the line that says what to mend."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pubsub.events import EventType
from pubsub.handshake import Refusal, Request, admit
from pubsub.options import Options
from pubsub.upgrade import ServerUpgrade
from tests.support.requests import (
    KEY,
    ROLE,
    admission,
    assert_says_value_limit_and_cure,
    cut,
    cuts,
    refusal,
    upgrade_head,
)

# --- upgrade ---


def test_the_role_is_judged_before_the_upgrade() -> None:
    refused = refusal(upgrade_head(without=("Upgrade", "Sec-WebSocket-Key")))
    assert (refused.status, refused.event) == (400, EventType.BAD_HTTP_HEADERS)


def test_a_request_without_an_upgrade_is_told_what_to_upgrade_to() -> None:
    refused = refusal(upgrade_head(ROLE, without=("Upgrade", "Connection", "Sec-WebSocket-Key")))
    assert (refused.status, refused.event, refused.topic) == (426, EventType.WEBSOCKET_UPGRADE_FAILED, "/prices")
    head = refused.to_bytes()
    assert b"\r\nUpgrade: websocket\r\n" in head
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in head
    assert b"\r\nConnection: close, Upgrade\r\n" in head


@pytest.mark.parametrize(
    ("head", "status", "says"),
    [
        (upgrade_head(ROLE, ("Sec-WebSocket-Version", "8"), without=("Sec-WebSocket-Version",)), 426, "'8' is not 13"),
        (upgrade_head(ROLE, without=("Sec-WebSocket-Version",)), 400, "is not 13"),
        (upgrade_head(ROLE, without=("Sec-WebSocket-Key",)), 400, "Sec-WebSocket-Key is missing"),
        (upgrade_head(ROLE, without=("Connection",)), 400, "no Upgrade"),
        (upgrade_head(ROLE, target="http://a.example/prices", without=("Connection",)), 400, "no Upgrade"),
        (upgrade_head(ROLE, ("Upgrade", "h2c"), without=("Upgrade",)), 400, "'h2c'"),
        (upgrade_head(ROLE, line="POST /prices HTTP/1.1"), 400, "'POST'"),
        (upgrade_head(ROLE, ("Connection", "close")), 400, "once"),
    ],
)
def test_a_broken_upgrade_is_refused_and_told_to_the_events(head: bytes, status: int, says: str) -> None:
    refused = refusal(head)
    assert (refused.status, refused.event, refused.topic) == (status, EventType.WEBSOCKET_UPGRADE_FAILED, "/prices")
    assert says in refused.body


def test_the_answer_to_head_has_no_body() -> None:
    answer = refusal(upgrade_head(ROLE, line="HEAD /prices HTTP/1.1", without=("Upgrade",))).to_bytes()
    assert answer.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 0" not in answer


def test_a_target_that_is_no_path_is_told_before_what_else_is_wrong() -> None:
    assert "'*'" in refusal(upgrade_head(ROLE, line="OPTIONS * HTTP/1.1", without=("Upgrade",))).body


# --- head ---


@pytest.mark.parametrize(
    ("head", "says"),
    [
        pytest.param(upgrade_head(ROLE, line="GET /prices HTTP/1.0"), "HTTP/1.1", id="HTTP/1.0"),
        pytest.param(upgrade_head(ROLE, line="GET /prices"), "HTTP/1.1", id="no version"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1", id="HTTP/2"),
        pytest.param(upgrade_head(ROLE, line="GET  /prices HTTP/1.1"), "request line", id="two spaces"),
        pytest.param(upgrade_head(ROLE, ("Content-Length", "5")) + b"hello", "body", id="body"),
        pytest.param(upgrade_head(ROLE, ("Transfer-Encoding", "chunked")), "body", id="chunks"),
        pytest.param(upgrade_head(ROLE, ("Transfer-Encoding", "gzip")), "chunked", id="transfer coding"),
        pytest.param(upgrade_head(ROLE, ("Content-Length", "x")), "Content-Length", id="bad length"),
        pytest.param(upgrade_head(ROLE, without=("Host",)), "Host", id="no Host"),
        pytest.param(upgrade_head(ROLE, ("Host", "example.com:8080")), "Host", id="two Hosts"),
        pytest.param(upgrade_head(ROLE, ("Host", "evil.example")), "Host", id="Hosts that disagree"),
        pytest.param(upgrade_head(ROLE, ("Host", "a b"), without=("Host",)), "'a b'", id="Host with a space"),
        pytest.param(upgrade_head(ROLE, ("Host", "u@a"), without=("Host",)), "'u@a'", id="Host with a user"),
        pytest.param(upgrade_head(ROLE, ("Host", "xn--a-"), without=("Host",)), "xn--a-", id="Host that is not IDNA"),
        pytest.param(upgrade_head(ROLE, ("Host", "xn--" + "a" * 9000), without=("Host",)), "no host", id="long Host"),
        pytest.param(upgrade_head(ROLE, ("Host", "é"), without=("Host",)), "ASCII", id="Host that is not ASCII"),
        pytest.param(upgrade_head(ROLE, target="/é"), "percent-encode", id="target that is not ASCII"),
        pytest.param(upgrade_head(ROLE, ("X-Name", "é")), "percent-encode", id="header that is not ASCII"),
        pytest.param(upgrade_head(ROLE, ("X-Name", "a\r\n b")), "one line", id="folded header"),
        pytest.param(upgrade_head(ROLE, ("X-Name ", "a")), "illegal header", id="space before the colon"),
        pytest.param(upgrade_head(ROLE, ("X-Name", "a\0b")), "control characters", id="NUL"),
        pytest.param(upgrade_head(ROLE, ("X-Name", "a\x0bb")), "control characters", id="VT"),
        pytest.param(upgrade_head(ROLE, ("X-Name", "a\rb")), "control characters", id="CR without LF"),
        # h11 takes a second to refuse this one: it must not get it.
        pytest.param(upgrade_head(ROLE, ("X-Name", " " * 15000 + "\0")), "control characters", id="blanks and a NUL"),
        pytest.param(upgrade_head(ROLE, ("Sec-WebSocket-Key", KEY)), "2 times", id="two keys"),
        pytest.param(b"\r\n" + upgrade_head(ROLE), "first byte", id="empty line first"),
        pytest.param(b"\x16\x03\x01\x02", "TLS", id="TLS"),
        pytest.param(b"\n\n", "first byte", id="empty lines"),
        pytest.param(b"x\n\n", "HTTP/1.1", id="not HTTP"),
    ],
)
def test_a_bad_head_is_a_bad_request_without_an_event(head: bytes, says: str) -> None:
    refused = refusal(head)
    assert (refused.status, refused.event) == (400, None)
    assert says in refused.body


@pytest.mark.parametrize(
    "key",
    ["", "x", KEY[:-1], KEY + "=", "dGhlIHNhbXBsZSBub25jZQ", "=" * 24, "dGhlIHNhbXBsZSBub25jZTEy", "*" * 22 + "=="],
)
def test_a_key_that_is_not_16_bytes_of_base64_is_a_bad_request(key: str) -> None:
    refused = refusal(upgrade_head(ROLE, ("Sec-WebSocket-Key", key), without=("Sec-WebSocket-Key",)))
    assert (refused.status, refused.event) == (400, None)
    assert "Sec-WebSocket-Key" in refused.body


def test_a_content_length_of_nothing_is_no_body() -> None:
    assert admission(upgrade_head(ROLE, ("Content-Length", "0")))


def test_a_head_over_the_limit_is_431_whether_it_ends_or_not() -> None:
    padding = ("X-Padding", "x" * 2000)
    for head in (upgrade_head(ROLE, padding), upgrade_head(ROLE, padding)[:-2]):
        refused = ServerUpgrade(max_head_bytes=1024).receive(head)
        assert isinstance(refused, Refusal)
        assert (refused.status, refused.event) == (431, None)
        assert "max_head_bytes=1024" in refused.body


def test_a_head_of_exactly_the_limit_is_taken() -> None:
    head = upgrade_head(ROLE)
    assert isinstance(ServerUpgrade(max_head_bytes=len(head)).receive(head + b"more"), Request)
    assert isinstance(ServerUpgrade(max_head_bytes=len(head) - 1).receive(head), Refusal)


# --- bytes ---


def outcome_of(upgrade: ServerUpgrade, pieces: Sequence[bytes]) -> tuple[Request | Refusal | None, bytes]:
    outcome = None
    for piece in pieces:
        outcome = upgrade.receive(piece) or outcome
    return outcome, upgrade.leftover


@given(st.binary(max_size=60), cuts())
def test_a_request_is_the_same_however_it_is_cut_and_no_byte_after_it_is_lost(after: bytes, sizes: list[int]) -> None:
    wire = upgrade_head(ROLE, target="/a?name=b") + after
    outcome, leftover = outcome_of(ServerUpgrade(), list(cut(wire, sizes)))
    assert outcome == ServerUpgrade().receive(wire)
    assert isinstance(outcome, Request)
    assert leftover == after


heads = st.sampled_from(
    [
        upgrade_head(ROLE),
        upgrade_head(ROLE, ("Origin", "https://a.example"), ("Sec-WebSocket-Protocol", "pubsub, chat")),
        upgrade_head(ROLE, target="http://a.example:80/b?pubsub=subscriber&name=c"),
        upgrade_head(ROLE, ("Content-Length", "3")),
        upgrade_head(without=("Upgrade",)),
    ]
)
damage = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), st.binary(max_size=12)), max_size=4)


@given(heads, damage, cuts())
@example(upgrade_head(ROLE), [(0, 400, b"\x00")], [1])
def test_a_damaged_request_never_raises_and_means_the_same_however_it_is_cut(
    head: bytes, changes: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    wire = bytearray(head)
    for at, length, replacement in changes:
        wire[at : at + length] = replacement
    outcome = ServerUpgrade(max_head_bytes=300).receive(bytes(wire))
    assert outcome_of(ServerUpgrade(max_head_bytes=300), list(cut(bytes(wire), sizes)))[0] == outcome
    judged = admit(outcome, Options()) if isinstance(outcome, Request) else outcome
    if isinstance(judged, Refusal):
        assert_says_value_limit_and_cure(judged)

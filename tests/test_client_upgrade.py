"""A client's side of the upgrade, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubsub.errors import MisuseError, PeerError, UpgradeRefused
from pubsub.handshake import Refusal, Request, admit
from pubsub.options import Options
from pubsub.upgrade import Accepted, ClientUpgrade, ServerUpgrade
from tests.support.requests import cut, cuts

HEADERS = [("pubsub", "subscriber")]


def asked(**options: object) -> ClientUpgrade:
    return ClientUpgrade(host="example.com:8080", target="/prices", headers=HEADERS, **options)  # type: ignore[arg-type]


def answered(upgrade: ClientUpgrade, *, subprotocol: str | None = None) -> bytes:
    server = ServerUpgrade()
    assert isinstance(server.receive(upgrade.request), Request)
    return server.accept(subprotocol=subprotocol, headers=[(b"Pubsub-Client-Id", b"-1")])


def outcome_of(upgrade: ClientUpgrade, *pieces: bytes) -> Accepted | PeerError | None:
    outcome = None
    for piece in pieces:
        outcome = outcome or upgrade.receive(piece)
    return outcome


def test_the_request_is_what_a_server_admits() -> None:
    upgrade = ClientUpgrade(
        host="[::1]:8080", target="/a?x", headers=[*HEADERS, ("X-Token", "t")], subprotocols=["pubsub"]
    )
    request = ServerUpgrade().receive(upgrade.request)
    assert isinstance(request, Request)
    assert (request.target, request.host, request.subprotocols) == ("/a?x", "[::1]:8080", ("pubsub",))
    assert (b"x-token", b"t") in request.headers
    assert not isinstance(admit(request, Options()), Refusal)


@given(st.binary(max_size=50), cuts())
def test_a_101_opens_and_no_byte_after_it_is_lost(after: bytes, sizes: list[int]) -> None:
    upgrade = asked()
    outcome, leftover = None, b""
    for piece in cut(answered(upgrade) + after, sizes):
        if outcome is None:
            outcome = upgrade.receive(piece)
            leftover = upgrade.leftover
        else:
            leftover += piece
    assert outcome == Accepted((("pubsub-client-id", "-1"),), None)
    assert leftover == after


def test_the_server_s_choice_of_subprotocol_is_told() -> None:
    upgrade = asked(subprotocols=["chat", "pubsub"])
    outcome = upgrade.receive(answered(upgrade, subprotocol="pubsub"))
    assert isinstance(outcome, Accepted)
    assert outcome.subprotocol == "pubsub"


@given(cuts())
def test_a_refusal_brings_status_headers_and_body(sizes: list[int]) -> None:
    refusal = Refusal(403, "not from here; ask elsewhere", ((b"Retry-After", b"5"),))
    outcome = outcome_of(asked(), *cut(refusal.to_bytes(), sizes))
    assert isinstance(outcome, UpgradeRefused)
    assert (outcome.status, outcome.body) == (403, "not from here; ask elsewhere\n")
    assert ("retry-after", "5") in outcome.headers
    assert "403" in str(outcome)
    assert "not from here" in str(outcome)


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, ""),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nno. \r\n0\r\n\r\n", 404, "no. "),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 100\r\n\r\nbroken off", 302, "broken off"),
        (b"HTTP/1.0 500 Oh\r\n\r\nuntil the end", 500, "until the end"),
        (b"HTTP/1.1 204 \r\n\r\n", 204, ""),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", 103, ""),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd", 500, "\ufffd" * 3),
    ],
)
def test_any_answer_of_http_is_a_refusal(answer: bytes, status: int, body: str) -> None:
    for pieces in ([answer, b""], [*cut(answer, [7]), b""]):
        outcome = outcome_of(asked(), *pieces)
        assert isinstance(outcome, UpgradeRefused)
        assert (outcome.status, outcome.body) == (status, body)


def test_a_long_body_is_not_kept_whole() -> None:
    head = b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n"
    outcome = outcome_of(asked(), head, b"x" * 50_000)
    assert isinstance(outcome, UpgradeRefused)
    assert len(outcome.body) == 16384


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="no headers"),
        pytest.param(b"x" * 70_000, id="no end"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
            id="the answer to another key",
        ),
    ],
)
def test_what_is_no_answer_is_the_peer_s_error(answer: bytes) -> None:
    outcome = outcome_of(asked(), answer, b"") if answer else asked().receive(b"")
    assert type(outcome) is PeerError


def test_an_answer_that_h11_takes_long_to_refuse_is_refused_without_it() -> None:
    outcome = asked().receive(b"HTTP/1.1 101 Switching Protocols\r\nX-Name:" + b" " * 60000 + b"\0\r\n\r\n")
    assert isinstance(outcome, PeerError)
    assert "control characters" in str(outcome)


def test_a_subprotocol_or_an_extension_that_was_not_asked_for_is_the_peer_s_error() -> None:
    for header in (b"Sec-WebSocket-Protocol: chat\r\n", b"Sec-WebSocket-Extensions: permessage-deflate\r\n"):
        upgrade = asked()
        answer = answered(upgrade).replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n")
        assert type(upgrade.receive(answer)) is PeerError


@given(st.binary(max_size=200), cuts())
def test_nonsense_for_an_answer_never_raises(data: bytes, sizes: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 ", b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n"):
        assert isinstance(outcome_of(asked(), *cut(start + data, sizes), b""), PeerError)


@pytest.mark.parametrize("name", ["Host", "upgrade", "Connection", "Sec-WebSocket-Key", "sec-websocket-protocol"])
def test_headers_of_the_handshake_itself_cannot_be_given(name: str) -> None:
    with pytest.raises(MisuseError, match="belongs to the handshake"):
        ClientUpgrade(host="a", target="/", headers=[(name, "x")])


@pytest.mark.parametrize(("name", "value"), [("X Y", "a"), ("X", "a\r\nY: b"), ("X", "é"), ("", "a")])
def test_headers_that_http_does_not_allow_cannot_be_given(name: str, value: str) -> None:
    with pytest.raises(MisuseError, match="not HTTP"):
        ClientUpgrade(host="a", target="/", headers=[(name, value)])


def test_a_host_that_dns_does_not_allow_cannot_be_asked() -> None:
    with pytest.raises(MisuseError, match="not HTTP"):
        ClientUpgrade(host="a" * 64 + ".example", target="/")

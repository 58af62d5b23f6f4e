"""Upgrades that go wrong: each is a LoadError that says what the server answered."""

import socket
from collections.abc import Callable

import pytest

from fastfan.load import Load, LoadError, Step
from tests.support.falseserver import UPGRADED, Caller, Door, carry_out, false_server, server_frame, small_plan
from tests.support.rawclient import PING

COUNT = 10

FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\nConnection: close\r\n\r\nnot from there\n"


def refusal(answer: bytes | Callable[[Caller], None], **plan: object) -> str:
    """What connect() says when the first connection gets this answer."""

    def script(door: Door) -> None:
        caller = door.accept()
        if isinstance(answer, bytes):
            caller.send(answer)
        else:
            answer(caller)
        caller.read_to_end()

    with false_server(script) as port, Load(small_plan(port, publishers=0, **plan)) as load:
        with pytest.raises(LoadError) as raised:
            load.connect()
        assert load.report().connections == 0
    return str(raised.value)


# -- Refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (FORBIDDEN, "no upgrade: HTTP/1.1 403 Forbidden: not from there"),
        (b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n\r\n", "no upgrade: HTTP/1.1 426 Upgrade Required"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>\n</html>", "no upgrade: HTTP/1.1 200 OK: <html>"),
        (b"HTTP/1.0 101 Switching Protocols\r\n\r\n", "no upgrade: HTTP/1.0 101 Switching Protocols"),
        (
            UPGRADED.replace(b"s3pP", b"S3pP"),
            "no upgrade: HTTP/1.1 101 Switching Protocols: without the right Sec-WebSocket-Accept",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no upgrade: SSH-2.0-OpenSSH_9.2: this is no HTTP/1.1"),
        (bytes(3), "no upgrade: : this is no HTTP/1.1"),
        (b"HTTP/1.1 101 \x1b[31m\x7f\r\n\r\n", "no upgrade: HTTP/1.1 101 ?[31m?: without the right"),
    ],
    ids=["403", "426", "200", "HTTP/1.0", "wrong accept", "another protocol", "zeros", "control characters"],
)
def test_a_refusal_says_what_the_server_answered(answer: bytes, said: str) -> None:
    assert refusal(answer).startswith(said)


def test_a_long_answer_is_cut_short() -> None:
    text = refusal(b"HTTP/1.1 500 " + b"x" * 5000 + b"\r\n\r\n" + b"y" * 2000)
    assert text.startswith("no upgrade: HTTP/1.1 500 xxx") and len(text) < 400


def test_a_head_without_an_end_is_given_up() -> None:
    def endless(caller: Caller) -> None:
        caller.send(b"HTTP/1.1 101 Switching Protocols\r\n" + b"x-filler: and so on\r\n" * 1000)

    assert refusal(endless) == "no upgrade: HTTP/1.1 101 Switching Protocols: its head is over 8192 bytes"


@pytest.mark.parametrize("end", [Caller.finish, Caller.reset], ids=["end of the stream", "reset"])
def test_an_end_before_an_answer_says_so(end: Callable[[Caller], None]) -> None:
    assert refusal(end).startswith("the server closed the connection in place of an answer")


def test_an_end_within_an_answer_says_so() -> None:
    def half(caller: Caller) -> None:
        caller.send(UPGRADED[:-2])
        caller.finish()

    assert refusal(half).endswith("the server closed the connection within its answer")


def test_silence_ends_with_the_patience() -> None:
    assert refusal(b"", patience_seconds=0.05).startswith("no answer to an upgrade")
    assert refusal(UPGRADED[:-1], patience_seconds=0.05).startswith("no answer to an upgrade")


def test_the_last_of_many_may_be_the_one_that_is_refused() -> None:
    def script(door: Door) -> None:
        door.welcome(COUNT)
        door.accept().send(FORBIDDEN)

    with false_server(script) as port, Load(small_plan(port, subscribers=COUNT)) as load:
        with pytest.raises(LoadError, match="403 Forbidden"):
            load.connect()
        assert load.report().connections == COUNT


def test_where_nobody_listens_connect_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Load(small_plan(port)) as load, pytest.raises(LoadError, match="cannot connect: Connection refused"):
        load.connect()


def test_a_request_that_is_too_long_is_not_sent() -> None:
    def script(door: Door) -> None:
        with pytest.raises((EOFError, ConnectionError)):
            door.accept()

    with false_server(script) as port, Load(small_plan(port, query="?" + "x" * 8200)) as load:
        with pytest.raises(LoadError, match="8192 bytes"):
            load.connect()


def test_a_load_that_was_refused_has_a_report_and_closes() -> None:
    def script(door: Door) -> None:
        door.accept().send(FORBIDDEN)

    with false_server(script) as port:
        load = Load(small_plan(port))
        with pytest.raises(LoadError):
            load.connect()
        assert load.report().step is Step.CONNECTING
        load.close()
        assert load.report().step is Step.CLOSED


# -- Accepted, in odd pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 50, len(UPGRADED) - 1])
def test_an_upgrade_may_come_in_pieces(size: int) -> None:
    def script(door: Door) -> None:
        callers = [door.accept() for _ in range(2)]
        for caller in callers:
            caller.send_in_pieces(UPGRADED, size)
        subscriber, publisher = callers
        subscriber.send(*publisher.read_messages(COUNT))

    with false_server(script) as port:
        assert carry_out(port).is_intact


def test_frames_right_behind_the_upgrade_are_not_lost() -> None:
    def script(door: Door) -> None:
        subscriber = door.accept()
        subscriber.send(UPGRADED + server_frame(b"at once", PING) + server_frame(b"and again", PING)[:5])
        assert subscriber.read_pong() == b"at once"
        publisher = door.accept()
        publisher.send(UPGRADED)
        messages = publisher.read_messages(COUNT)
        subscriber.send(server_frame(b"and again", PING)[5:], *messages)
        assert subscriber.read_pong() == b"and again"

    with false_server(script) as port:
        assert carry_out(port, connecting=1).is_intact


# -- The request ---------------------------------------------------------------------------------------------------


def heads(count: int, **plan: object) -> list[str]:
    """The requests of a load, as they came."""
    found: list[str] = []

    def script(door: Door) -> None:
        found.extend(caller.head.decode("ascii") for caller in door.welcome(count))

    with false_server(script) as port, Load(small_plan(port, **plan)) as load:
        load.connect()
    return found


def test_each_kind_names_its_role_and_its_topic() -> None:
    found = heads(7, subscribers=4, publishers=3, topics=3, path="/prices", query="?a=b")
    lines = [(head.split(" ")[1], "pubsub: publisher" in head) for head in found]
    assert lines == [
        *((f"/prices/{topic}?a=b", False) for topic in (0, 1, 2, 0)),
        *((f"/prices/{topic}?a=b", True) for topic in (0, 1, 2)),
    ]


def test_headers_are_sent_as_they_were_given_and_host_is_made_where_missing() -> None:
    (first,) = heads(1, publishers=0, headers=(("Cookie", "a=1"), ("Cookie", "b=2"), ("X-Empty", "")))
    assert "\r\nCookie: a=1\r\nCookie: b=2\r\nX-Empty: \r\n" in first
    assert first.count("Host: 127.0.0.1:") == 1
    (second,) = heads(1, publishers=0, headers=(("hOST", "elsewhere.example"),))
    assert "\r\nhOST: elsewhere.example\r\n" in second and "Host:" not in second

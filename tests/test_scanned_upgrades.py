"""Upgrades through the scanner in C and through wsproto: nobody can tell which of them read it."""

import os
import random
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from fastfan._upgrade import scan_upgrade
from pubsub.errors import MisuseError
from pubsub.handshake import Admission, Refusal, Request, admit
from pubsub.options import Options
from pubsub.upgrade import ClientUpgrade, Scan, ServerUpgrade
from tests.support.requests import ROLE, upgrade_head
from tests.support.upgrades import SENT_BY, head_of, random_cut, random_upgrade

# More by hand: FASTFAN_EXAMPLES=1000000 make test ARGS="tests/test_scanned_upgrades.py"
EXAMPLES = int(os.environ.get("FASTFAN_EXAMPLES", "5000"))
LIMIT = 1024
ADDED = [(b"pubsub-client-id", b"-1"), (b"pubsub-epoch", b"2"), (b"pubsub-offset", b"3")]


class Outcome(NamedTuple):
    """All that the shell learns of a request, and what it sends."""

    answers: list[Request | Refusal | None]  # one for each piece
    leftover: bytes
    verdict: Admission | Refusal | None
    sent: bytes


def outcome(pieces: Sequence[bytes], scan: Scan | None) -> Outcome:
    upgrade = ServerUpgrade(max_head_bytes=LIMIT, scan=scan)
    answers = [upgrade.receive(piece) for piece in pieces]
    asked = next((answer for answer in answers if answer is not None), None)
    if not isinstance(asked, Request):
        return Outcome(answers, upgrade.leftover, asked, asked.to_bytes() if asked else b"")
    verdict = admit(asked, Options())
    if isinstance(verdict, Refusal):
        return Outcome(answers, upgrade.leftover, verdict, verdict.to_bytes())
    return Outcome(answers, upgrade.leftover, verdict, upgrade.accept(subprotocol=verdict.subprotocol, headers=ADDED))


def test_a_request_has_the_same_outcome_scanned_or_not() -> None:
    scanned = admitted = 0
    for seed in range(EXAMPLES):
        random_ = random.Random(seed)
        head = random_upgrade(random_)
        pieces = random_cut(random_, head + random_.randbytes(random_.choice([0, 0, 1, 40])))
        one, other = outcome(pieces, scan_upgrade), outcome(pieces, None)
        assert one == other, f"seed {seed}: {pieces}"
        scanned += scan_upgrade(pieces[0], LIMIT) is not None
        admitted += isinstance(one.verdict, Admission)
    # Else most of the above says nothing.
    assert scanned > EXAMPLES / 10
    assert EXAMPLES / 5 < admitted < EXAMPLES * 3 / 4


@pytest.mark.parametrize("head", SENT_BY.values(), ids=SENT_BY.keys())
def test_what_programs_send_is_scanned(head: bytes) -> None:
    assert scan_upgrade(head, LIMIT) is not None
    assert outcome([head + b"more"], scan_upgrade) == outcome([head + b"more"], None)


def test_what_our_own_clients_send_is_scanned() -> None:
    client = ClientUpgrade(host="localhost:8080", target="/t", headers=[ROLE], subprotocols=["pubsub"])
    assert scan_upgrade(client.request, LIMIT) is not None


def test_no_prefix_of_a_request_is_scanned() -> None:
    for head in SENT_BY.values():
        assert not any(scan_upgrade(head[:size], LIMIT) for size in range(len(head)))


def test_a_head_is_scanned_up_to_max_head_bytes() -> None:
    head = upgrade_head(ROLE)
    assert scan_upgrade(head + b"more", len(head)) is not None
    assert scan_upgrade(head + b"more", len(head) - 1) is None


def test_as_many_headers_are_scanned_as_there_is_room_for() -> None:
    assert scan_upgrade(upgrade_head(ROLE, *[("X-Many", "x")] * 42), 1 << 20) is not None
    assert scan_upgrade(upgrade_head(ROLE, *[("X-Many", "x")] * 43), 1 << 20) is None


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"GET", b"PUT"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"/prices", b"http://example.com/prices"),
        (b"/prices", b"*"),
        (b"\r\n", b"\n"),
        (b"Host: example.com:8080\r\n", b""),
        (b"Host: ", b"Host:"),
        (b"Host: ", b"Host : "),
        (b"Host: ", b"Host:  "),
        (b"example.com", b"xn--bcher-kva.example"),
        (b"example.com", b"user@example.com"),
        (b"example.com:8080", b"example.com:"),
        (b"example.com:8080", b"[::1"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"keep-alive, Upgrade", b"close, Upgrade"),
        (b"Version: 13", b"Version: 8"),
        (b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 13"),
        (b"Key: dGhl", b"Key: dGh"),
        (b"25jZQ==", b"25jZR=="),  # bits left over that are not 0
        (b"subscriber", b"subscriber "),
        (b"subscriber", b"subscriber\r\n "),
        (b"subscriber", b"subs\tcriber"),
        (b"subscriber", b"subscrib\xe9r"),
        (b"subscriber", b"subscriber\r\npubsub: subscriber"),
        (b"subscriber", b"subscriber\r\nContent-Length: 0"),
        (b"subscriber", b"subscriber\r\nTransfer-Encoding: chunked"),
        (b"subscriber", b"subscriber\r\nExpect: 100-continue"),
        (b"subscriber", b"subscriber\r\nX-Empty: "),
        (b"subscriber", b"subscriber\r\nX Odd: x"),
    ],
)
def test_what_is_not_plain_is_left_to_wsproto(was: bytes, becomes: bytes) -> None:
    plain = upgrade_head(ROLE)
    assert was in plain
    assert scan_upgrade(plain, LIMIT) is not None
    changed = plain.replace(was, becomes)
    assert scan_upgrade(changed, LIMIT) is None
    assert outcome([changed], scan_upgrade) == outcome([changed], None)


def test_a_scanned_request_too_is_accepted_once_and_only_with_what_it_offers() -> None:
    upgrade = ServerUpgrade(scan=scan_upgrade)
    upgrade.receive(head_of([("Host", "a"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]))
    with pytest.raises(MisuseError, match="accept once"):
        upgrade.accept()
    upgrade = ServerUpgrade(scan=scan_upgrade)
    upgrade.receive(upgrade_head(ROLE))
    with pytest.raises(MisuseError, match="pubsub"):
        upgrade.accept(subprotocol="pubsub")
    with pytest.raises(MisuseError, match="more than one line"):
        upgrade.accept(headers=[(b"pubsub-client-id", b"-1\r\nSet-Cookie: a=b")])
    upgrade.accept()
    with pytest.raises(MisuseError, match="accept once"):
        upgrade.accept()

"""What must hold of every request head, whatever is in it: the judgement of a fuzzer.

The outcome is that of a server: the 101, or the refusal to the last byte. It must be the same whether the scanner may
read the head or wsproto alone does, and however the head is cut. A refusal is a whole response with one line in it that
names value, limit and cure. And all of it takes little time: a head has at most max_head_bytes.
"""

import random
import re
import time
from collections.abc import Sequence
from http import HTTPStatus

from fastfan._upgrade import scan_upgrade
from pubsub.handshake import Refusal, Request, admit
from pubsub.options import Options
from pubsub.upgrade import Scan, ServerUpgrade
from tests.support.upgrades import random_cut

__all__ = ["LIMIT", "LONGEST_SECONDS", "Outcome", "check_head", "check_refusal", "outcome_of"]

LIMIT = 16384
# Of CPU, for one way of one head. The most that was seen are 24 ms; what grows with the square takes seconds.
LONGEST_SECONDS = 0.25
OPTIONS = Options(
    max_head_bytes=LIMIT,
    allow_origins=("https://*.example.com", "http://example.org:*"),
    allow_hosts=("example.com", "**.example.com", "example.org"),
)
ADDED = [(b"pubsub-client-id", b"-1"), (b"pubsub-epoch", b"2"), (b"pubsub-offset", b"3")]

# What is sent, what the program learns, and the bytes behind an accepted head.
Outcome = tuple[bytes, object, bytes]


def outcome_of(pieces: Sequence[bytes], scan: Scan | None) -> Outcome:
    """What a server makes of them; it waits for more where there is no answer yet."""
    upgrade = ServerUpgrade(max_head_bytes=LIMIT, scan=scan)
    asked: Request | Refusal | None = None
    for piece in pieces:
        told = upgrade.receive(piece)
        asked = asked or told
    if asked is None:
        return b"", None, b""
    if isinstance(asked, Refusal):
        return asked.to_bytes(), asked, b""
    verdict = admit(asked, OPTIONS)
    if isinstance(verdict, Refusal):
        return verdict.to_bytes(), verdict, b""
    answer = upgrade.accept(subprotocol=verdict.subprotocol, headers=ADDED)
    request = Request(asked.target, asked.host, list(asked.headers), asked.subprotocols)
    return answer, (request, verdict), upgrade.leftover


def check_head(data: bytes, random_: random.Random) -> Outcome:
    """AssertionError where something does not hold; any other exception is a fault as well."""
    expected = timely_outcome_of([data], None)
    cut = random_cut(random_, data)
    for pieces, scan in (([data], scan_upgrade), (cut, None), (cut, scan_upgrade)):
        got = timely_outcome_of(pieces, scan)
        assert got == expected, f"cut to {[len(piece) for piece in pieces]}, {scan}: {got} and not {expected}"
    answer, what, leftover = expected
    if isinstance(what, Refusal):
        check_refusal(answer, what)
    elif what is not None:
        check_101(answer)
        assert data.endswith(leftover)
    else:
        assert answer == b""
        assert len(data) < LIMIT
    return expected


def timely_outcome_of(pieces: Sequence[bytes], scan: Scan | None) -> Outcome:
    for _ in range(4):
        start = time.thread_time()
        outcome = outcome_of(pieces, scan)
        seconds = time.thread_time() - start
        if seconds < LONGEST_SECONDS:
            return outcome
        # Once may be chance.
    raise AssertionError(f"takes {seconds:.2f} s of CPU")


RESPONSE = re.compile(
    rb"HTTP/1\.1 (\d{3}) ([A-Za-z -]+)\r\n"
    rb"((?:[A-Za-z-]+: [ -~]+\r\n)+)\r\n"
    rb"((?:[ -~]+; [ -~]{8,}\n)?)"
)


def check_refusal(answer: bytes, refusal: Refusal) -> None:
    response = RESPONSE.fullmatch(answer)
    assert response, f"not a response with one line of fault and cure: {answer!r}"
    status, phrase, lines, body = response.groups()
    assert HTTPStatus(int(status)).phrase == phrase.decode("ascii")
    headers = dict(line.split(b": ", 1) for line in lines.splitlines())
    assert len(headers) == lines.count(b"\r\n"), f"a header twice: {answer!r}"
    assert len(body) == (0 if refusal.head_only else int(headers[b"Content-Length"]))
    assert len(answer) < 1024, f"a refusal of {len(answer)} bytes: {answer!r}"
    assert (b"Upgrade" in headers) == (status == b"426")


def check_101(answer: bytes) -> None:
    lines = answer.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols", answer
    assert lines[-2:] == [b"", b""], answer
    assert all(re.fullmatch(rb"[A-Za-z-]+: [!-~]+", line) for line in lines[1:-2]), answer

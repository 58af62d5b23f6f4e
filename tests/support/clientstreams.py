"""Random bytes of a client: mostly well-formed, with an end of some kind, and cut anywhere."""

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER
from tests.support import rawclient
from tests.support.rawclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

__all__ = ["LIMIT", "Script", "Scripts", "client_stream", "cut", "damaged"]

LIMIT = 300_000  # the max_message_bytes that these streams are about

SIZES = [0, 1, 2, 7, 125, 126, 127, 1000, 20_000, 65_535, 65_536, 131_073, LIMIT]
WEIGHTS = [8, 18, 18, 18, 9, 9, 9, 9, 1, 0.3, 0.3, 0.3, 0.1]
LETTERS = ["a", "é", "€", "😀", "\0", "\ufeff", "\uffff", "\U0010ffff"]

# Not UTF-8: a byte that never is, overlong, a surrogate, over U+10FFFF, a cut character, one that goes on too long.
WRONG = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xc3a", b"\xf0\x9f\x98"]


def frame(
    random_: random.Random,
    payload: bytes | str = b"",
    opcode: int = BINARY,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length_bytes: int | None = None,
    announced: int | None = None,
) -> bytes:
    """As rawclient has it, but a seed makes it again to the last byte."""
    mask = random_.randbytes(4)
    return rawclient.frame(
        payload, opcode, fin=fin, rsv=rsv, masked=masked, length_bytes=length_bytes, announced=announced, mask=mask
    )


def close_frame(random_: random.Random, code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(random_, b"" if code is None else struct.pack(">H", code) + reason, CLOSE)


def text(random_: random.Random, size: int) -> bytes:
    """About so many bytes of UTF-8."""
    if size > 2000:
        return random_.choice(LETTERS).encode() * (size // 4)
    return "".join(random_.choices(LETTERS, k=size // 2)).encode()


def wrong_text(random_: random.Random) -> bytes:
    return text(random_, random_.choice(SIZES[:8])) + random_.choice(WRONG) + text(random_, random_.choice([0, 0, 20]))


def control(random_: random.Random) -> bytes:
    return frame(random_, random_.randbytes(random_.choice([0, 1, 4, 125])), random_.choice([PING, PONG]))


def message(random_: random.Random, payload: bytes, opcode: int) -> bytes:
    """In one frame or in fragments, perhaps with control frames between them."""
    if random_.random() < 0.6:
        return frame(random_, payload, opcode)
    stream = b""
    for index in range(last := random_.randrange(4)):
        at = random_.randrange(len(payload) + 1)
        stream += frame(random_, payload[:at], CONTINUATION if index else opcode, fin=False)
        stream += b"".join(control(random_) for _ in range(random_.choice([0, 0, 1, 2])))
        payload = payload[at:]
    return stream + frame(random_, payload, CONTINUATION if last else opcode)


def good_frames(random_: random.Random) -> bytes:
    if random_.random() < 0.2:
        return control(random_)
    size = random_.choices(SIZES, WEIGHTS)[0]
    if random_.random() < 0.5:
        return message(random_, text(random_, size), TEXT)
    return message(random_, random_.randbytes(size), BINARY)


def bad_frames(random_: random.Random) -> bytes:
    """What nobody may send, alone or inside a message."""
    begun = frame(random_, "é", TEXT, fin=False)
    before = random_.choice([b"", frame(random_, b"x", fin=False), begun + control(random_)])
    bad = random_.choice(
        [
            frame(random_, b"x", rsv=random_.randrange(1, 8)),
            frame(random_, bytes(random_.choice([300, 70_000])), rsv=random_.randrange(1, 8)),
            frame(random_, bytes(random_.choice([300, 70_000])), masked=False),
            frame(random_, b"x", random_.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
            frame(random_, b"x", masked=False),
            frame(random_, b"x", random_.choice([PING, PONG]), fin=False),
            frame(random_, bytes(126), random_.choice([PING, PONG])),
            frame(random_, bytes(5), length_bytes=random_.choice([3, 9])),
            frame(random_, b"x", CONTINUATION) + frame(random_, b"x", CONTINUATION),
            begun + frame(random_, b"y", random_.choice([TEXT, BINARY]), fin=random_.random() < 0.5),
            frame(random_, b"", announced=1 << 63),
            random_.randbytes(20),
            close_frame(random_, random_.choice([1, 999, 1005, 5000])),
            frame(random_, b"\x03", 8),
        ]
    )
    return before + bad


def too_big(random_: random.Random) -> bytes:
    over = LIMIT + random_.choice([1, 2, 100_000])
    if random_.random() < 0.3:
        return frame(random_, b"", announced=over) + bytes(random_.choice([0, 10, LIMIT, over]))
    if random_.random() < 0.4:
        # The limit is inside a character, and so is where the stream is cut, now and then.
        return message(random_, b"a" * (LIMIT - random_.randrange(4)) + random_.choice(LETTERS[1:4]).encode() * 2, TEXT)
    payload = bytes(over) if random_.random() < 0.5 else b"a" * over
    return message(random_, payload, random_.choice([TEXT, BINARY]))


def good_close(random_: random.Random) -> bytes:
    code = random_.choice([1000, 1001, 1003, 1007, 1011, 3000, 4999, None])
    return close_frame(random_, code, random_.choice([b"", b"bye", "é".encode(), b"r" * 123]) if code else b"")


def bad_close(random_: random.Random) -> bytes:
    """With a body that no Close may have."""
    code = random_.choice([0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
    bodies = [b"\x03", struct.pack(">H", code), struct.pack(">H", 1000) + random_.choice(WRONG), bytes(126)]
    return frame(random_, random_.choice(bodies), CLOSE)


class Supply:
    """Parts of one kind: making one costs more than to use it, so each is used a few times and then made anew."""

    def __init__(self, make: Callable[[random.Random], bytes], count: int, uses: int) -> None:
        self._make = make
        self._parts: list[bytes] = []
        self._count = count
        self._uses = uses
        self._left = 0

    def take(self, random_: random.Random) -> bytes:
        if self._left == 0:
            self._parts = [self._make(random_) for _ in range(self._count)]
            self._left = self._count * self._uses
        self._left -= 1
        return self._parts[int(random_.random() * self._count)]


class Parts:
    """What streams are put together from."""

    def __init__(self, *, uses: int) -> None:
        self.good = Supply(good_frames, 64, uses)
        self.control = Supply(control, 32, uses)
        self.closes = Supply(good_close, 16, uses)
        self.bad_closes = Supply(bad_close, 16, uses)
        self.bad = Supply(bad_frames, 24, uses)
        self.wrong = Supply(lambda random_: message(random_, wrong_text(random_), TEXT), 24, uses)
        self.too_big = Supply(too_big, 4, uses)

    def end(self, random_: random.Random) -> bytes:
        """A Close, something against the rules, or nothing; and perhaps something behind it, that must not count."""
        kinds = [self.closes, self.bad_closes, self.bad, self.wrong, self.too_big, None]
        kind = random_.choices(kinds, [35, 10, 15, 17, 1, 22])[0]
        if kind is None:
            return b""
        behind = self.good.take(random_) if random_.random() < 0.5 else b""
        return kind.take(random_) + behind


def client_stream(random_: random.Random, parts: Parts | None = None) -> bytes:
    """Frames and an end, cut off anywhere now and then."""
    parts = parts or Parts(uses=1)
    count = int(random_.random() ** 2 * 9)  # most often a few
    stream = b"".join([parts.good.take(random_) for _ in range(count)]) + parts.end(random_)
    if random_.random() < 0.1:
        return damaged(random_, stream)
    return stream[: int(random_.random() * len(stream))] if random_.random() < 0.12 else stream


def damaged(random_: random.Random, stream: bytes) -> bytes:
    """With a few bytes changed, missing, doubled or too many."""
    changed = bytearray(stream)
    for _ in range(random_.choice([1, 1, 2, 5])):
        at = random_.randrange(len(changed) + 1)
        count = random_.choice([1, 1, 2, 4, 30])
        how = random_.randrange(5)
        if how == 0:
            changed[at : at + 1] = bytes([random_.randrange(256)])
        elif how == 1:
            changed[at : at + 1] = bytes([byte ^ 1 << random_.randrange(8) for byte in changed[at : at + 1]])
        elif how == 2:
            del changed[at : at + count]
        elif how == 3:
            changed[at:at] = changed[at : at + count]
        else:
            changed[at:at] = random_.randbytes(count)
    return bytes(changed)


STEPS = [1, 2, 5, 14, 100, 1000, 30_000, 60_000]


def cut(random_: random.Random, stream: bytes) -> list[bytes]:
    """In pieces of all sizes."""
    pieces: list[bytes] = []
    at = 0
    whole = random_.random() < 0.1
    while at < len(stream):
        step = 60_000 if whole else STEPS[int(random_.random() * len(STEPS))]
        pieces.append(stream[at : at + step])
        at += step
        if len(pieces) > 60:  # or a byte at a time would take for ever
            whole = True
    return pieces


# --- and what else happens meanwhile ----------------------------------------------------------------------------------


class Script(NamedTuple):
    """A client's whole life. The places are those of pieces, before which something happens; -1: it does not."""

    role: int
    pieces: list[bytes]
    leaves: str  # finish: its stream, and reads on; gone; or reset: gone, with what it was sent unread
    publish_at: int = -1  # the program publishes
    close_at: int = -1  # the server closes it
    after_log: bool = False  # as a drain does


ROLES = [PUBLISHER, PUBLISHER, SUBSCRIBER, DUPLEX]


class Scripts:
    """Without an end, and the same again for the same seed."""

    def __init__(self, seed: object, *, uses: int = 8) -> None:
        self._random = random.Random(str(seed))
        self._parts = Parts(uses=uses)

    def take(self) -> Script:
        random_ = self._random
        pieces = cut(random_, client_stream(random_, self._parts))
        leaves = "finish" if random_.random() < 0.85 else random_.choice(["gone", "reset"])
        script = Script(ROLES[int(random_.random() * 4)], pieces, leaves)
        if random_.random() < 0.2:
            script = script._replace(publish_at=random_.randrange(len(pieces) + 1))
        if random_.random() < 0.15:
            at, after_log = random_.randrange(len(pieces) + 1), random_.random() < 0.5
            script = script._replace(close_at=at, after_log=after_log)
        return script

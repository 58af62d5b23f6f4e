"""Random bytes of a client: mostly well-formed, with an end of some kind, and cut anywhere."""

import random

from tests.support.rawclient import BINARY, CONTINUATION, PING, PONG, TEXT, close_frame, frame

__all__ = ["LIMIT", "client_stream", "cut"]

LIMIT = 300_000  # the max_message_bytes that these streams are about

SIZES = [0, 1, 2, 7, 125, 126, 127, 1000, 20_000, 65_535, 65_536, 131_073, LIMIT]
WEIGHTS = [8, 18, 18, 18, 9, 9, 9, 9, 3, 1, 1, 1, 0.2]
LETTERS = ["a", "é", "€", "😀", "\0", "\ufeff", "\uffff", "\U0010ffff"]

# Not UTF-8: a byte that never is, overlong, a surrogate, over U+10FFFF, a cut character, one that goes on too long.
WRONG = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xc3a", b"\xf0\x9f\x98"]


def text(random_: random.Random, size: int) -> bytes:
    """About so many bytes of UTF-8."""
    if size > 2000:
        return random_.choice(LETTERS).encode() * (size // 4)
    return "".join(random_.choices(LETTERS, k=size // 2)).encode()


def wrong_text(random_: random.Random) -> bytes:
    return text(random_, random_.choice(SIZES[:8])) + random_.choice(WRONG) + text(random_, random_.choice([0, 0, 20]))


def control(random_: random.Random) -> bytes:
    return frame(random_.randbytes(random_.choice([0, 1, 4, 125])), random_.choice([PING, PONG]))


def message(random_: random.Random, payload: bytes, opcode: int) -> bytes:
    """In one frame or in fragments, perhaps with control frames between them."""
    if random_.random() < 0.6:
        return frame(payload, opcode)
    stream = b""
    for index in range(last := random_.randrange(4)):
        at = random_.randrange(len(payload) + 1)
        stream += frame(payload[:at], CONTINUATION if index else opcode, fin=False)
        stream += b"".join(control(random_) for _ in range(random_.choice([0, 0, 1, 2])))
        payload = payload[at:]
    return stream + frame(payload, CONTINUATION if last else opcode)


def good_frames(random_: random.Random) -> bytes:
    if random_.random() < 0.2:
        return control(random_)
    size = random_.choices(SIZES, WEIGHTS)[0]
    if random_.random() < 0.5:
        return message(random_, text(random_, size), TEXT)
    return message(random_, random_.randbytes(size), BINARY)


def bad_frames(random_: random.Random) -> bytes:
    """What nobody may send, alone or inside a message."""
    before = random_.choice([b"", frame(b"x", fin=False), frame("é", TEXT, fin=False) + control(random_)])
    bad = random_.choice(
        [
            frame(b"x", rsv=random_.randrange(1, 8)),
            frame(bytes(random_.choice([300, 70_000])), rsv=random_.randrange(1, 8)),
            frame(bytes(random_.choice([300, 70_000])), masked=False),
            frame(b"x", random_.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
            frame(b"x", masked=False),
            frame(b"x", random_.choice([PING, PONG]), fin=False),
            frame(bytes(126), random_.choice([PING, PONG])),
            frame(bytes(5), length_bytes=random_.choice([3, 9])),
            frame(b"x", CONTINUATION) + frame(b"x", CONTINUATION),
            frame(b"x", fin=False) + frame(b"y", random_.choice([TEXT, BINARY]), fin=random_.random() < 0.5),
            frame(b"", announced=1 << 63),
            random_.randbytes(20),
            close_frame(random_.choice([1, 999, 1005, 5000])),
            frame(b"\x03", 8),
        ]
    )
    return before + bad


def too_big(random_: random.Random) -> bytes:
    over = LIMIT + random_.choice([1, 2, 100_000])
    if random_.random() < 0.3:
        return frame(b"", announced=over) + bytes(random_.choice([0, 10, LIMIT, over]))
    payload = bytes(over) if random_.random() < 0.5 else b"a" * over
    return message(random_, payload, random_.choice([TEXT, BINARY]))


def client_stream(random_: random.Random) -> bytes:
    """Frames and an end: a Close, something against the rules, or a cut anywhere."""
    stream = b"".join(good_frames(random_) for _ in range(random_.randrange(12)))
    end = random_.randrange(100)
    if end < 25:
        return stream + close_frame(random_.choice([1000, 1001, 3000, None]), random_.choice([b"", b"bye"]))
    if end < 40:
        return stream + bad_frames(random_) + good_frames(random_)
    if end < 60:
        return stream + message(random_, wrong_text(random_), TEXT) + good_frames(random_)
    if end < 63:
        return stream + too_big(random_) + good_frames(random_)
    if end < 80:
        return stream + close_frame(1000) + good_frames(random_)
    return stream[: random_.randrange(len(stream) + 1)]


def cut(random_: random.Random, stream: bytes) -> list[bytes]:
    """In pieces of all sizes."""
    pieces = []
    whole = random_.random() < 0.1
    while stream:
        step = random_.choice([1, 2, 5, 14, 100, 1000, 30_000, 60_000] if not whole else [60_000])
        pieces.append(stream[:step])
        stream = stream[step:]
        if len(pieces) > 60:  # or a byte at a time would take for ever
            whole = True
    return pieces

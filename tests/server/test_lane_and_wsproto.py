"""The same bytes, cut anywhere, down both ways: through the lane, and all of them through wsproto. Nobody can tell.

Compared are what subscribers get, what the publisher is answered to the last byte, and what is counted.
"""

import os
import random
import re
from typing import NamedTuple

import pytest

from tests.support.frames import parse
from tests.support.rawclient import BINARY, CONTINUATION, PING, PONG, TEXT, RawClient, close_frame, frame
from tests.support.server import Scene, serving, wait_until

# More by hand: FASTFAN_EXAMPLES=100000 make test ARGS="tests/server/test_lane_and_wsproto.py"
EXAMPLES = int(os.environ.get("FASTFAN_EXAMPLES", "150"))
END = b"the end"
SIZES = [0, 1, 2, 7, 125, 126, 127, 1000, 20_000, 65_535, 65_536, 131_072, 131_073]


def good_frame(random_: random.Random) -> bytes:
    payload = random_.randbytes(random_.choices(SIZES, [4, 9, 9, 9, 9, 9, 9, 9, 2, 1, 1, 1, 1])[0])
    kind = random_.choices([BINARY, TEXT, PONG, PING, CONTINUATION], [20, 3, 4, 2, 2])[0]
    if kind == TEXT:
        return frame(payload.decode("latin-1"), TEXT)
    if kind == CONTINUATION:
        cut = random_.randrange(len(payload) + 1)
        between = frame(payload[:3], random_.choice([PING, PONG])) if random_.random() < 0.5 else b""
        return frame(payload[:cut], fin=False) + between + frame(payload[cut:], CONTINUATION)
    return frame(payload if kind == BINARY else payload[:125], kind)


def bad_frame(random_: random.Random) -> bytes:
    return random_.choice(
        [
            frame(b"x", rsv=random_.randrange(1, 8)),
            frame(b"x", random_.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])),
            frame(b"x", masked=False),
            frame(b"x", random_.choice([PING, PONG]), fin=False),
            frame(bytes(126), random_.choice([PING, PONG])),
            frame(bytes(5), length_bytes=random_.choice([3, 9])),
            frame(b"\xff\xfe", TEXT),
            frame(b"x", CONTINUATION),
            frame(b"x", fin=False) + frame(b"y"),
            frame(b"", announced=1 << 63),
            random_.randbytes(20),
        ]
    )


def random_stream(random_: random.Random) -> bytes:
    """Frames and an end: a Close, something malformed, or a cut anywhere."""
    stream = b"".join(good_frame(random_) for _ in range(random_.randrange(12)))
    end = random_.randrange(4)
    if end == 0:
        return stream + close_frame(random_.choice([1000, 1001, 3000, 1005]), random_.choice([b"", b"bye"]))
    if end == 1:
        return stream + bad_frame(random_) + good_frame(random_)
    if end == 2:
        return stream + close_frame(1000) + good_frame(random_)
    return stream[: random_.randrange(len(stream) + 1)]


def random_cuts(random_: random.Random, stream: bytes) -> list[bytes]:
    pieces = []
    while stream:
        step = random_.choice([1, 2, 5, 14, 100, 1000, 30_000, 100_000])
        pieces.append(stream[:step])
        stream = stream[step:]
        if len(pieces) > 60:  # or a byte at a time would take for ever
            return [*pieces, stream]
    return pieces


class Answers(NamedTuple):
    """What a publisher got, but for what depends on how the kernel cuts the stream, with the lane or without."""

    pongs: list[bytes]  # those to pings that came in one piece with a Close are left out (RFC 6455 section 5.5.2)
    others: list[tuple[int, bytes]]  # without how much of a message had come when it was found to be too large

    def agrees(self, other: "Answers") -> bool:
        shorter, longer = sorted((self.pongs, other.pongs), key=len)
        return self.others == other.others and longer[: len(shorter)] == shorter


async def everything(client: RawClient) -> Answers:
    try:
        frames, rest = parse(await client.read_rest())
    except ConnectionError:
        return Answers([], [])  # the server had enough of what we still sent
    assert rest == b""
    others = [(opcode, re.sub(rb"message of \d+", b"message of", payload)) for opcode, payload in frames]
    return Answers([payload for opcode, payload in frames if opcode == PONG], [it for it in others if it[0] != PONG])


async def carried(scene: Scene, topic: str, pieces: list[bytes]) -> tuple[bytes, Answers]:
    """What a subscriber and the publisher got of it."""
    subscriber, publisher = await scene.join(topic), await scene.join(topic, "publisher")
    try:
        for piece in pieces:
            await publisher.send(piece)
        publisher.finish()
    except ConnectionError:
        pass
    answers = await everything(publisher)
    publisher.close()
    await wait_until(lambda: scene.server.stats().publishers == 0, "the publisher's departure")
    scene.server.publish(topic, END)
    got = b""
    while not got.endswith(END):
        assert await subscriber.read_some()
        got = bytes(subscriber.buffer)
    subscriber.close()
    await scene.wait_empty()
    return got, answers


def counts(scene: Scene) -> tuple[object, ...]:
    stats = scene.server.stats()
    return stats.messages, stats.message_bytes, stats.ignored_messages, stats.departures


@pytest.mark.slow
async def test_the_same_bytes_have_the_same_outcome_with_the_lane_and_without() -> None:
    async with (
        serving(max_message_bytes=140_000) as laned,
        serving(max_message_bytes=140_000, lane=False) as plain,
    ):
        for seed in range(EXAMPLES):
            random_ = random.Random(seed)
            stream = random_stream(random_)
            one = await carried(laned, f"/{seed}", random_cuts(random_, stream))
            other = await carried(plain, f"/{seed}", random_cuts(random_, stream))
            assert one[0] == other[0], f"seed {seed}"
            assert one[1].agrees(other[1]), f"seed {seed}: {one[1]} and {other[1]}"
            assert counts(laned) == counts(plain), f"seed {seed}"

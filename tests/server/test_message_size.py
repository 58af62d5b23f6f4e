"""max_message_bytes, to the byte: in one frame or in fragments, text as UTF-8, and before the memory is spent."""

from collections.abc import Callable

import pytest

from tests.support.rawclient import CONTINUATION, PING, PONG, TEXT, RawClient, close_frame, frame
from tests.support.server import Scene, serving, wait_until

Way = Callable[[bytes | str], bytes]
LIMIT = 10_000
TOO_BIG = 1009


def whole(payload: bytes | str) -> bytes:
    return frame(payload, TEXT if isinstance(payload, str) else 0x2)


def in_fragments(payload: bytes | str, pieces: int = 7) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data) // pieces + 1
    cut = [data[start : start + size] for start in range(0, len(data), size)]
    opcode = TEXT if isinstance(payload, str) else 0x2
    first = frame(cut[0], opcode, fin=len(cut) == 1)
    return first + b"".join(frame(part, CONTINUATION, fin=part is cut[-1]) for part in cut[1:])


def with_pings_between(payload: bytes | str) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    opcode = TEXT if isinstance(payload, str) else 0x2
    middle = len(data) // 2 + 1  # inside a code point of the texts below
    ping = frame(b"between", PING)
    return frame(data[:middle], opcode, fin=False) + ping + frame(data[middle:], CONTINUATION) + ping


FITTING: dict[str, bytes | str] = {
    "bytes": bytes(range(250)) * 40,
    "ASCII": "x" * LIMIT,
    "two bytes each": "é" * (LIMIT // 2),
    "three bytes each": "€" * (LIMIT // 3) + "x",
    "four bytes each": "😀" * (LIMIT // 4),
}
WAYS = [whole, in_fragments, with_pings_between]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", FITTING)
async def test_a_message_of_exactly_the_limit_passes(kind: str, way: Way) -> None:
    async with serving(max_message_bytes=LIMIT) as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(way(FITTING[kind]) + way(FITTING[kind]))
        assert await subscriber.read_messages(2) == [FITTING[kind]] * 2


@pytest.mark.parametrize("way", WAYS)
async def test_stats_count_the_bytes_of_text_and_not_its_characters(way: Way) -> None:
    async with serving(max_message_bytes=LIMIT) as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(way("é" * 50))
        await subscriber.read_message()
        stats = scene.server.stats()
        assert (stats.messages, stats.message_bytes) == (1, 100)


async def test_a_message_of_the_limit_passes_byte_by_byte() -> None:
    async with serving(max_message_bytes=300) as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        for payload in (bytes(300), "é" * 150):
            for way in WAYS:
                await publisher.send(way(payload), bytewise=True)
                assert await subscriber.read_message() == payload


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", FITTING)
async def test_one_byte_more_closes_1009_and_is_delivered_to_nobody(kind: str, way: Way, bytewise: bool) -> None:
    limit = 200 if bytewise else LIMIT
    fitting = FITTING[kind]
    shorter = fitting[: len(fitting) * limit // LIMIT]
    shorter += "x" * (limit - len(shorter.encode())) if isinstance(shorter, str) else b""  # type: ignore[operator]
    too_big = shorter + ("x" if isinstance(shorter, str) else b"x")  # type: ignore[operator]
    async with serving(max_message_bytes=limit) as scene:
        subscriber, other = await scene.join(), await scene.join(role="publisher")
        bad = await scene.join(role="publisher")
        await bad.send(whole(shorter) + way(too_big) + frame(b"after"), bytewise=bytewise)
        await skip_pongs_to_close(bad, limit)
        await other.send(frame(b"next"))
        assert await subscriber.read_messages(2) == [shorter, b"next"]


async def skip_pongs_to_close(client: RawClient, limit: int) -> None:
    while (got := await client.read_frame()).opcode == PONG:
        assert got.payload == b"between"
    assert int.from_bytes(got.payload[:2], "big") == TOO_BIG
    assert f"max_message_bytes={limit}" in got.payload[2:].decode()
    await client.read_end()


@pytest.mark.parametrize("announced", [LIMIT + 1, 1 << 20, 1 << 40, (1 << 63) - 1])
async def test_a_header_that_announces_too_much_costs_no_memory(announced: int) -> None:
    async with serving(max_message_bytes=LIMIT) as scene:
        bad = await scene.join(role="publisher")
        await bad.send(frame(b"", announced=announced) + bytes(LIMIT // 2))
        await wait_until(lambda: scene.server.stats().received_bytes > LIMIT // 2, "half of the limit")
        assert scene.server.stats().memory_bytes < 1 << 20
        await bad.send(bytes(LIMIT // 2 + 1))
        await skip_pongs_to_close(bad, LIMIT)
        assert scene.server.stats().memory_bytes == 0


async def test_a_message_far_over_the_limit_can_be_sent_to_its_end_and_the_close_read() -> None:
    async with serving(max_message_bytes=LIMIT) as scene:
        bad = await scene.join(role="publisher")
        await bad.send(frame(bytes(5_000_000)))
        await skip_pongs_to_close(bad, LIMIT)


async def test_many_empty_fragments_are_no_message_too_big() -> None:
    async with serving(max_message_bytes=1) as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(
            frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 500 + frame(b"x", CONTINUATION)
        )
        assert await subscriber.read_message() == b"x"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 262_144, 1 << 20, (1 << 24) - 1, 1 << 24])
async def test_sizes_at_the_edges_of_frames_and_segments_pass_the_defaults(size: int) -> None:
    async with serving() as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        payload = bytes(size)
        await publisher.send(frame(payload))
        await publisher.send(frame(b"next"))
        assert await subscriber.read_messages(2) == [payload, b"next"]


# --- what subscribers send ------------------------------------------------------------------------------------------


async def send_junk(scene: Scene, junk: bytes) -> RawClient:
    subscriber = await scene.join()
    await subscriber.send(junk)
    return subscriber


async def test_what_a_subscriber_sends_is_counted_and_thrown_away() -> None:
    async with serving(max_message_bytes=LIMIT) as scene:
        other = await scene.join()
        junk = frame(b"junk") + frame("junk", TEXT) + in_fragments(bytes(LIMIT)) + frame(bytes(LIMIT))
        subscriber = await send_junk(scene, junk + frame(b"done", PING))
        assert await subscriber.read_frame() == (PONG, b"done", True)
        assert scene.server.stats().ignored_messages == 4
        assert scene.server.stats().messages == 0
        assert scene.server.publish("/t", b"first") == 1
        assert await other.read_message() == await subscriber.read_message() == b"first"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payload", [bytes(LIMIT + 1), "é" * (LIMIT // 2) + "x"], ids=["bytes", "text"])
async def test_what_a_subscriber_sends_is_limited_as_well(payload: bytes | str, way: Way) -> None:
    async with serving(max_message_bytes=LIMIT) as scene:
        subscriber = await send_junk(scene, way(payload))
        await skip_pongs_to_close(subscriber, LIMIT)


async def test_a_subscriber_that_only_talks_costs_no_memory() -> None:
    async with serving(max_ignored_bytes=None) as scene:
        subscriber = await send_junk(scene, frame(bytes(1_000_000)) * 10 + close_frame())
        assert await subscriber.read_close() == (1000, "")
        assert scene.server.stats().memory_bytes == 0
        assert scene.server.stats().ignored_messages == 10

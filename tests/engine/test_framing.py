"""Frames in the log: every length, text and binary, whatever the data came in, wherever a segment ends."""

import random
import threading
from array import array
from collections.abc import Callable

import pytest

from fastfan import MisuseError, Overloaded, Topic
from tests.support.engine import Rig
from tests.support.frames import BINARY, TEXT, frame, frame_bytes, parse
from tests.support.sockets import Pair

# RFC 6455 section 5.2: 7 bits, 16 bits and 64 bits of length.
LENGTH_BOUNDARIES = [0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 65534, 65535, 65536, 65537]
SEGMENT_SIZES = [4096, 16384, 65536, 262144]


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/framing")


@pytest.mark.parametrize("size", LENGTH_BOUNDARIES)
def test_a_payload_of_any_length_has_the_shortest_header(rig: Rig, topic: Topic, size: int) -> None:
    peer = rig.connect(topic)
    payload = random.Random(size).randbytes(size)
    topic.publish(payload)
    peer.expect(frame(payload))


@pytest.mark.parametrize("size", LENGTH_BOUNDARIES)
def test_a_length_boundary_is_met_again_inside_a_batch(rig: Rig, topic: Topic, size: int) -> None:
    peer = rig.connect(topic)
    payloads = [b"before", bytes(size), b"between", bytes(size), b"after"]
    topic.publish_many(payloads)
    peer.expect(*map(frame, payloads))


def edges_of(block_bytes: int) -> list[int]:
    # What a segment's own fields and marks take off the block is not known here, so sweep over all it may be.
    step = 1 if block_bytes <= 16384 else 7 if block_bytes <= 65536 else 61
    own = 160 + 16 * block_bytes // 4096  # as it is today; a miss costs the sweep its precision, nothing else
    exact = range(block_bytes - own - 14, block_bytes - own + 2)
    return sorted({*range(block_bytes - own - 200, block_bytes + 16, step), *exact})


@pytest.mark.parametrize("block_bytes", SEGMENT_SIZES)
def test_a_message_as_large_as_a_segment_arrives_whole(rig: Rig, topic: Topic, block_bytes: int) -> None:
    peer = rig.connect(topic)
    noise = random.Random(block_bytes).randbytes(block_bytes + 16)
    for size in edges_of(block_bytes):
        topic.publish(noise[:size])
        peer.expect(frame(noise[:size]))
    assert rig.memory_bytes == 0


@pytest.mark.parametrize("block_bytes", SEGMENT_SIZES)
def test_frames_that_just_fit_and_just_do_not_fit_stay_in_order(rig: Rig, topic: Topic, block_bytes: int) -> None:
    peer = rig.connect(topic)
    noise = random.Random(block_bytes).randbytes(block_bytes)
    own = 160 + 16 * block_bytes // 4096
    for missing in range(-6, 7):
        first = noise[: block_bytes // 2]
        second = noise[: block_bytes - own - frame_bytes(len(first)) - 4 - missing]
        # Each by itself, so that the batch does not pick a larger segment.
        for payload in (first, second, b"third", b""):
            topic.publish(payload)
        peer.expect(frame(first), frame(second), frame(b"third"), frame(b""))


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 5_000_001])
def test_a_message_larger_than_any_segment_has_one_of_its_own(
    rig: Rig, topic: Topic, size: int, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, pair=new_pair())
    payload = random.Random(size).randbytes(size)
    topic.publish_many([b"before", payload, b"after"])
    peer.expect(frame(b"before"), frame(payload), frame(b"after"))


@pytest.mark.parametrize("size", [0, 1, 41, 42, 125, 126, 3000, 4095, 4096, 4097, 9000])
def test_many_frames_of_one_size_fill_segments_of_every_class(rig: Rig, topic: Topic, size: int) -> None:
    peer = rig.connect(topic)
    count = 600_000 // (size + 50)
    payloads = [number.to_bytes(4, "big")[-size:].ljust(size, b"x") if size else b"" for number in range(count)]
    for payload in payloads:
        topic.publish(payload)
    peer.expect(*map(frame, payloads))


def test_bytes_are_binary_and_str_is_text(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    topic.publish(b"\x00\xff")
    topic.publish("naïve ☂ 🦉")
    topic.publish("")
    peer.expect(frame(b"\x00\xff", BINARY), frame("naïve ☂ 🦉", TEXT), frame("", TEXT))


@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"abcd"),
        memoryview(b"abcd"),
        memoryview(b"-abcd-")[1:5],
        memoryview(bytearray(b"abcd")),
        array("B", b"abcd"),
    ],
    ids=["bytearray", "memoryview", "slice", "writable", "array"],
)
def test_any_buffer_is_published_and_batched(
    rig: Rig, topic: Topic, data: "bytearray | memoryview | array[int]"
) -> None:
    peer = rig.connect(topic)
    topic.publish(data)
    topic.publish(data, text=True)
    topic.publish_many([data])
    partial = topic.partial()
    partial.extend(data)
    partial.publish()
    peer.expect(frame(b"abcd"), frame("abcd"), frame(b"abcd"), frame(b"abcd"))


def test_data_may_be_reused_as_soon_as_publish_returns(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    data = bytearray(b"first")
    topic.publish(data)
    data[:] = b"later"
    data += b" and longer"
    peer.expect(frame(b"first"))


def test_a_buffer_that_is_not_contiguous_is_taken_as_the_bytes_it_has(rig: Rig, topic: Topic) -> None:
    peer, parts = rig.connect(topic), memoryview(b"abcdef")[::2]
    topic.publish(parts)
    topic.publish(parts, text=True)
    topic.publish_many([parts])
    peer.expect(frame(b"ace"), frame("ace"), frame(b"ace"))


@pytest.mark.parametrize("data", [5, None, [1, 2], 1.5])
def test_what_is_no_buffer_is_a_type_error_wherever_it_is_given(rig: Rig, topic: Topic, data: object) -> None:
    rig.connect(topic)
    with pytest.raises(TypeError):
        topic.publish(data)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        topic.publish_many([b"good", data])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        topic.partial().extend(data)  # type: ignore[arg-type]
    assert topic.next_offset == 1


def test_text_of_bytes_that_are_not_utf_8_is_refused(rig: Rig, topic: Topic) -> None:
    with pytest.raises(MisuseError, match="not UTF-8 at byte 2"):
        topic.publish(b"ab\xff", text=True)
    assert topic.next_offset == 1


def test_text_with_a_lone_surrogate_is_refused_with_nothing_appended(rig: Rig, topic: Topic) -> None:
    with pytest.raises(MisuseError, match="index 1"):
        topic.publish("a\ud800")
    with pytest.raises(MisuseError, match="index 0"):
        topic.publish_many(["good", "\udfff"])
    with pytest.raises(MisuseError, match="index 0"):
        topic.partial(text=True).extend("\ud800")
    assert topic.next_offset == 1


def test_publish_many_keeps_types_and_order_and_returns_the_last_offset(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    assert topic.publish_many(["text", b"bytes", bytearray(b"array"), memoryview(b"view")]) == 4
    assert topic.publish_many(iter(["five", "six"])) == 6
    assert topic.publish("seven") == 7
    peer.expect(
        frame("text"), frame(b"bytes"), frame(b"array"), frame(b"view"), frame("five"), frame("six"), frame("seven")
    )


def test_an_empty_batch_appends_nothing_and_returns_the_last_offset(rig: Rig, topic: Topic) -> None:
    assert topic.publish_many([]) == 0
    topic.publish(b"one")
    assert topic.publish_many([]) == 1


def test_a_large_batch_arrives_as_it_was_given(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    chance = random.Random(4)
    payloads = [chance.randbytes(chance.choice([0, 3, 125, 126, 2000, 70000])) for _ in range(500)]
    assert topic.publish_many(payloads) == 500
    peer.expect(*map(frame, payloads))


# Over a MiB a batch is put together aside, and linked as a whole.
ASIDE = 1 << 20


@pytest.mark.parametrize("size", [ASIDE - 10, ASIDE - 9, ASIDE + 1, 3 * ASIDE])
def test_what_is_put_together_aside_stands_where_it_was_published(rig: Rig, topic: Topic, size: int) -> None:
    early = rig.connect(topic)
    assert [topic.publish(b"before"), topic.publish(bytes(size)), topic.publish("after")] == [1, 2, 3]
    late = rig.connect(topic)
    many = [bytes([number % 256]) * (size // 1000) for number in range(1000)]
    assert topic.publish_many([*many, "last"]) == 1004
    assert topic.publish(b"end") == 1005
    tail = [*map(frame, many), frame("last"), frame(b"end")]
    early.expect(frame(b"before"), frame(bytes(size)), frame("after"), *tail)
    late.expect(*tail)
    rig.settle()
    assert (topic.log_bytes, rig.memory_bytes) == (0, 0)


def test_readers_find_every_message_of_a_batch_that_was_put_together_aside(rig: Rig, topic: Topic) -> None:
    with topic.reader() as reader:
        topic.publish_many([b"%d" % number for number in range(300_000)])
        topic.publish(b"end")
        got: list[tuple[int, bytes | str]] = []
        while len(got) < 300_001:
            got += reader.read(10_000)
    assert got == [(number + 1, b"%d" % number) for number in range(300_000)] + [(300_001, b"end")]


def test_large_and_small_batches_of_several_threads_keep_each_threads_order(rig: Rig) -> None:
    topic = rig.engine.topic("/threads", max_lag_bytes=1 << 40)

    def publish(who: int) -> None:
        for number in range(60):
            topic.publish_many([bytes([who, number]) + bytes(size) for size in (10, 30_000 * who, 400_000 * who)])

    threads = [threading.Thread(target=publish, args=[who]) for who in range(4)]
    got: list[bytes] = []
    with topic.reader() as reader:
        for thread in threads:
            thread.start()
        while len(got) < 4 * 180 and reader.wait(60):
            got += [data[:2] for _, data in reader.read() if isinstance(data, bytes)]
        for thread in threads:
            thread.join()
        assert reader.offset == topic.next_offset == 4 * 180 + 1
    for who in range(4):
        # A batch is in one piece, and a thread's batches are in order.
        assert [data[1] for data in got if data[0] == who] == [number for number in range(60) for _ in range(3)]
    assert all(got[place] == got[place + 1] == got[place + 2] for place in range(0, len(got), 3))


def test_a_message_nobody_listens_to_has_its_offset_and_is_not_kept(rig: Rig, topic: Topic) -> None:
    assert [topic.publish(b"a"), topic.publish_many([b"b", "c"]), topic.publish("d" * 100_000)] == [1, 3, 4]
    assert (topic.next_offset, topic.log_bytes, rig.memory_bytes) == (5, 0, 0)


def test_an_empty_log_gives_back_every_segment(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    for _ in range(3):
        topic.publish_many([bytes(1000)] * 1000)
        assert topic.log_bytes == 1000 * frame_bytes(1000)
        assert rig.memory_bytes >= topic.log_bytes
        peer.read(1000 * frame_bytes(1000))
        rig.settle()
        assert (topic.log_bytes, rig.memory_bytes) == (0, 0)


def test_over_the_limit_a_batch_appends_nothing_at_all(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_memory_bytes=1 << 20)
    topic = rig.engine.topic("/small")
    peer = rig.connect(topic)
    with pytest.raises(Overloaded, match="max_memory_bytes=1048576"):
        topic.publish_many([b"small", bytes(1 << 20)])
    assert (topic.next_offset, topic.log_bytes) == (1, 0)
    peer.expect_nothing()


def test_at_the_limit_a_large_batch_counts_what_its_segments_take(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_memory_bytes=8 << 20)
    topic = rig.engine.topic("/large")
    peer = rig.connect_slow(topic)
    batch = [bytes(1000)] * 3000
    assert topic.publish_many(batch) == 3000
    assert topic.publish_many(batch) == 6000
    with pytest.raises(Overloaded, match="max_memory_bytes=8388608"):
        topic.publish_many(batch)
    assert topic.next_offset == 6001
    peer.expect(*[frame(bytes(1000))] * 6000)
    rig.settle()
    assert rig.memory_bytes == 0
    assert topic.publish_many(batch) == 9000


def test_frames_written_by_the_engine_parse_back(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    payloads: list[bytes | str] = [b"", "x", bytes(126), bytes(65536)]
    topic.publish_many(payloads)
    frames, rest = parse(peer.read(sum(frame_bytes(len(payload)) for payload in payloads)))
    assert frames == [(BINARY, b""), (TEXT, b"x"), (BINARY, bytes(126)), (BINARY, bytes(65536))]
    assert rest == b""

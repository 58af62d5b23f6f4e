"""Messages that arrive in pieces: charged as they grow, seen by nobody before they are complete."""

import random
from collections.abc import Callable

import pytest

from fastfan import Overloaded, Topic
from tests.support.engine import Rig
from tests.support.frames import BINARY, TEXT, frame
from tests.support.sockets import Pair

LINKED_FROM = 262_144  # larger than any shared segment: linked into the log as it is


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/pieces")


@pytest.mark.parametrize(
    "size", [0, 1, 125, 126, 65535, 65536, 260_000, LINKED_FROM, LINKED_FROM + 1, 1 << 20, 3_333_333]
)
def test_pieces_become_one_frame_copied_when_small_and_linked_when_large(rig: Rig, topic: Topic, size: int) -> None:
    peer = rig.connect(topic)
    payload = random.Random(size).randbytes(size)
    partial = topic.partial()
    for at in range(0, size, 50_000):
        partial.extend(payload[at : at + 50_000])
    assert len(partial) == size
    assert partial.publish() == 1
    peer.expect(frame(payload))
    assert rig.memory_bytes == 0


def test_the_edge_between_copied_and_linked_loses_no_byte(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    noise = random.Random(1).randbytes(261_000)
    for size in range(260_930, 260_990):
        partial = topic.partial()
        partial.extend(noise[:size])
        topic.publish(b"before")
        partial.publish()
        topic.publish(b"after")
        peer.expect(frame(b"before"), frame(noise[:size]), frame(b"after"))


@pytest.mark.parametrize("edge", [65536, 131072, 262144, 1 << 20])
def test_growing_over_the_room_byte_by_byte_keeps_what_was_there(rig: Rig, topic: Topic, edge: int) -> None:
    peer = rig.connect(topic)
    noise = random.Random(edge).randbytes(edge + 64)
    partial = topic.partial()
    partial.extend(noise[: edge - 300])
    for at in range(edge - 300, edge + 64):
        partial.extend(noise[at : at + 1])
    partial.publish()
    peer.expect(frame(noise))


def test_nobody_sees_a_byte_before_it_is_published(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    partial = topic.partial()
    partial.extend(bytes(500_000))
    assert topic.publish(b"overtakes") == 1
    peer.expect(frame(b"overtakes"))
    assert partial.publish() == 2
    peer.expect(frame(bytes(500_000)))


@pytest.mark.parametrize("size", [10, 300_000])
def test_text_pieces_become_a_text_frame(rig: Rig, topic: Topic, size: int) -> None:
    peer = rig.connect(topic)
    partial = topic.partial(text=True)
    partial.extend("é" * size)
    partial.extend("☂".encode()[:1])
    partial.extend("☂".encode()[1:])
    partial.publish()
    peer.expect(frame("é" * size + "☂", TEXT))


def test_a_str_piece_of_a_binary_message_stays_binary(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    partial = topic.partial()
    partial.extend("text")
    partial.publish()
    peer.expect(frame(b"text", BINARY))


@pytest.mark.parametrize("size", [100, 400_000])
def test_after_publishing_it_is_empty_and_may_be_used_again(rig: Rig, topic: Topic, size: int) -> None:
    peer = rig.connect(topic)
    partial = topic.partial()
    for number in range(3):
        partial.extend(bytes([number]) * size)
        assert partial.publish() == number + 1
        assert len(partial) == 0
        peer.expect(frame(bytes([number]) * size))


def test_it_is_charged_while_it_grows_and_given_back_when_dropped(rig: Rig, topic: Topic) -> None:
    partial = topic.partial()
    partial.extend(bytes(300_000))
    assert rig.memory_bytes >= 300_000
    del partial
    assert rig.memory_bytes == 0


def test_published_to_nobody_it_has_an_offset_and_is_not_kept(rig: Rig, topic: Topic) -> None:
    partial = topic.partial()
    partial.extend(bytes(300_000))
    assert partial.publish() == 1
    assert (topic.next_offset, rig.memory_bytes, len(partial)) == (2, 0, 0)


def test_over_the_limit_it_keeps_what_came_before(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_memory_bytes=1 << 20)
    topic = rig.engine.topic("/small")
    peer = rig.connect(topic)
    partial = topic.partial()
    partial.extend(b"a" * 200_000)
    with pytest.raises(Overloaded):
        partial.extend(bytes(2 << 20))
    assert len(partial) == 200_000
    partial.extend(b"b")
    partial.publish()
    peer.expect(frame(b"a" * 200_000 + b"b"))


def test_several_grow_at_once_without_mixing(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    partials = [topic.partial() for _ in range(5)]
    for turn in range(20):
        for number, partial in enumerate(partials):
            partial.extend(bytes([number, turn]) * 10_000)
    for partial in reversed(partials):
        partial.publish()
    wanted = [b"".join(bytes([number, turn]) * 10_000 for turn in range(20)) for number in reversed(range(5))]
    peer.expect(*map(frame, wanted))


def test_linked_messages_among_small_ones_reach_slow_and_fast(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    fast, slow = rig.connect(topic, pair=new_pair()), rig.connect_slow(topic)
    wanted = []
    for number in range(12):
        partial = topic.partial()
        partial.extend(bytes([number]) * 270_000)
        partial.publish()
        topic.publish(f"small {number}")
        wanted += [frame(bytes([number]) * 270_000), frame(f"small {number}")]
        fast.expect(*wanted[-2:])
    slow.expect(*wanted)
    assert rig.memory_bytes == 0


def test_an_engine_that_is_gone_still_lets_a_partial_go(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    partial = rig.engine.topic("/gone").partial()
    partial.extend(bytes(100_000))
    rig.close()
    assert rig.memory_bytes > 0
    del partial
    assert rig.memory_bytes == 0

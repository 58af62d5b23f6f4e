"""The memory limit: Overloaded with nothing appended, publishers held from 80 %, victims at 100 %, and ROOM."""

from collections.abc import Callable

import pytest

from fastfan import PUBLISHER, Cause, EventKind, Overloaded, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import CLOSE, frame, frame_bytes

LIMIT = 1 << 20
BIG = bytes(270_000)  # larger than any shared segment: each has one of its own, of just its size
FOUR_FIFTHS = LIMIT // 5 * 4


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(max_memory_bytes=LIMIT, close_deadline=0.4)  # it looks every 50 ms


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/memory")


def payload_of_frame(size: int) -> bytes:
    return bytes(size - 10 if size > 65_539 else size - 4 if size > 127 else size - 2)


def fill(rig: Rig, topic: Topic, up_to: int) -> None:
    """Publishes until about that much memory is in use, and not more: in three segments of their own size."""
    for _ in range(3):
        topic.publish(bytes(up_to // 3 - 300))
    assert up_to - 1000 < rig.memory_bytes <= up_to


def asks_for_room(rig: Rig) -> Callable[[], bool]:
    rig.engine.want_room()
    return lambda: any(event.kind == EventKind.ROOM for event in rig.events)


# --- publishing in the process ---------------------------------------------------------------------------------------


def test_exactly_up_to_the_limit_is_taken_and_one_byte_more_is_overloaded(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    topic.publish_many([BIG, BIG])
    log_bytes = topic.log_bytes
    # Each of them has a segment of its own, and so will the next: its header counts too.
    segment_header_bytes = (rig.memory_bytes - log_bytes) // 2
    left = LIMIT - rig.memory_bytes - segment_header_bytes
    with pytest.raises(Overloaded, match=f"max_memory_bytes={LIMIT}"):
        topic.publish(payload_of_frame(left + 1))
    with pytest.raises(Overloaded):
        topic.publish_many([b"1", payload_of_frame(left - 2)])
    assert (topic.next_offset, topic.log_bytes) == (3, log_bytes)
    assert topic.publish(payload_of_frame(left)) == 3
    with pytest.raises(Overloaded):
        topic.publish(b"")
    rig.engine.abort(peer.token)
    rig.engine.start(peer.token, fd)
    rig.settle()
    assert rig.memory_bytes == 0


def test_after_overloaded_a_reader_gets_what_was_appended_and_there_is_room_again(rig: Rig, topic: Topic) -> None:
    slow = rig.connect_slow(topic)
    topic.publish(BIG)
    with pytest.raises(Overloaded):
        topic.publish(bytes(LIMIT))
    topic.publish(b"fits")
    slow.expect(frame(BIG), frame(b"fits"))
    assert rig.memory_bytes == 0
    topic.publish(bytes(LIMIT - 2000))
    slow.expect(frame(bytes(LIMIT - 2000)))


def test_nobody_listening_still_means_overloaded_for_what_can_never_fit(rig: Rig, topic: Topic) -> None:
    with pytest.raises(Overloaded):
        topic.publish(bytes(LIMIT + 1))
    assert topic.next_offset == 1


def test_without_strict_the_limit_is_not_looked_at(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    assert topic.publish_many([bytes(LIMIT)], strict=False) == 1
    peer.expect(frame(bytes(LIMIT)))


def test_partial_messages_count(rig: Rig, topic: Topic) -> None:
    rig.connect(topic)
    partial = topic.partial()
    partial.extend(bytes(500_000))
    with pytest.raises(Overloaded):
        topic.publish(bytes(600_000))
    del partial
    topic.publish(bytes(600_000))


# --- publishers on sockets -------------------------------------------------------------------------------------------


def test_publishers_are_held_from_four_fifths_on_and_subscribers_are_not(rig: Rig, topic: Topic) -> None:
    slow = rig.connect_slow(topic)
    publisher = rig.connect(topic, PUBLISHER)
    topic.publish_many([bytes(300_000)] * 2)
    assert rig.engine.roomy
    publisher.send(b"read")
    rig.settle()
    assert rig.lent(publisher) == b"read"
    rig.engine.resume(publisher.token)
    topic.publish(bytes(300_000))
    assert FOUR_FIFTHS < rig.memory_bytes < LIMIT
    assert not rig.engine.roomy
    publisher.send(b", held")
    slow.send(b"a pong, perhaps")
    rig.settle()
    assert rig.lent(publisher) == b"read"
    assert rig.lent(slow) == b"a pong, perhaps"
    slow.read(500_000)
    rig.until(lambda: rig.lent(publisher) == b"read, held")
    assert rig.engine.roomy


def test_publishers_of_a_topic_that_holds_little_are_not_held_for_what_others_fill(rig: Rig, topic: Topic) -> None:
    rig.connect_slow(topic)
    fill(rig, topic, LIMIT - 5000)
    assert not rig.engine.roomy
    held, elsewhere = rig.connect(topic, PUBLISHER), rig.connect(rig.engine.topic("/elsewhere"), PUBLISHER)
    for publisher in (held, elsewhere):
        publisher.send(b"read?")
    rig.settle()
    assert (rig.lent(held), rig.lent(elsewhere)) == (b"", b"read?")


def test_room_is_told_when_memory_is_back_below_four_fifths(rig: Rig, topic: Topic) -> None:
    slow = rig.connect_slow(topic)
    fill(rig, topic, LIMIT - 5000)
    told = asks_for_room(rig)
    rig.watch(0.05, that=lambda: not told())
    slow.read(topic.log_bytes // 2)
    rig.until(told)
    assert rig.engine.roomy
    assert [event for event in rig.events if event.kind == EventKind.ROOM] == [(EventKind.ROOM, 0, 0, 0, b"")]


def test_room_is_told_once_for_each_time_it_is_asked_for(rig: Rig, topic: Topic) -> None:
    rig.connect(topic)
    told = asks_for_room(rig)
    rig.until(told)
    rig.watch(0.05)
    assert len(rig.events) == 1
    rig.engine.want_room()
    rig.until(lambda: len(rig.events) == 2)


def test_room_that_a_dropped_partial_gives_is_told(rig: Rig, topic: Topic) -> None:
    rig.connect(topic)
    partial = topic.partial()
    partial.extend(bytes(900_000))
    assert not rig.engine.roomy
    told = asks_for_room(rig)
    rig.watch(0.03, that=lambda: not told())
    del partial
    rig.until(told)


@pytest.mark.parametrize("short", [False, True])
def test_room_is_told_even_when_there_are_no_connections(rig: Rig, topic: Topic, short: bool) -> None:
    partial = topic.partial()
    if short:
        partial.extend(bytes(900_000))
    told = asks_for_room(rig)
    rig.settle()
    del partial
    rig.until(told, 2.0)


# --- victims ---------------------------------------------------------------------------------------------------------


def overfill(topic: Topic) -> None:
    topic.publish_many([BIG] * 4, strict=False)


def test_at_the_limit_the_farthest_of_the_largest_log_is_condemned(rig: Rig, topic: Topic) -> None:
    small = rig.engine.topic("/smaller")
    small_slow = rig.connect_in_mid_frame(small, bytes(60_000))
    small.publish(bytes(60_000))
    far = rig.connect_in_mid_frame(topic, BIG)
    topic.publish(BIG)
    near = rig.connect_in_mid_frame(topic, BIG)
    assert rig.memory_bytes < LIMIT
    topic.publish_many([BIG], strict=False)
    assert rig.until_condemned(far) == Cause.MEMORY
    rig.engine.end(far.token, frame(b"\x03\xf5", CLOSE), deadline=60.0)
    far.expect(frame(BIG), frame(b"\x03\xf5", CLOSE))
    near.expect(frame(BIG), frame(BIG))
    assert rig.condemned(near) is rig.condemned(small_slow) is None


def test_again_and_again_until_it_is_enough_and_no_further(rig: Rig, topic: Topic) -> None:
    slow = [rig.connect_slow(topic) for _ in range(5)]
    fast = rig.connect(topic)
    topic.publish_many([BIG] * 3)
    fast.read(3 * frame_bytes(len(BIG)))
    topic.publish_many([BIG], strict=False)
    rig.settle()
    assert [rig.condemned(peer) for peer in slow] == [Cause.MEMORY] * 5
    assert rig.memory_bytes < LIMIT
    fast.expect(frame(BIG))


def test_a_log_that_only_a_closing_one_holds_does_not_shield_the_others(make_rig: Callable[..., Rig]) -> None:
    """Nobody is left to condemn in the largest log, so it is the next largest log's turn."""
    rig = make_rig(max_memory_bytes=LIMIT)
    large, small = rig.engine.topic("/large"), rig.engine.topic("/small")
    closing = rig.connect_in_mid_frame(large, BIG)
    large.publish_many([BIG] * 2)
    rig.engine.end(closing.token, frame(b"", CLOSE), after_log=True)
    rig.settle()
    slow = rig.connect_slow(small)
    small.publish_many([bytes(100_000)] * 2, strict=False)
    assert rig.memory_bytes > LIMIT
    assert rig.until_condemned(slow) == Cause.MEMORY


def test_those_who_have_everything_are_never_victims(rig: Rig, topic: Topic) -> None:
    up_to_date: list[Peer] = [rig.connect(topic) for _ in range(3)]
    partial = topic.partial()
    with pytest.raises(Overloaded):
        while True:
            partial.extend(bytes(60_000))
    rig.watch(0.03)
    assert all(rig.condemned(peer) is None for peer in up_to_date)


def test_after_the_victims_departure_memory_is_back(rig: Rig, topic: Topic) -> None:
    victim = rig.connect_slow(topic)
    overfill(topic)
    assert rig.until_condemned(victim) == Cause.MEMORY
    rig.engine.end(victim.token, frame(b"\x03\xf5", CLOSE), deadline=0.02)
    assert rig.until_departed(victim) == (Cause.MEMORY, 0)
    assert (topic.log_bytes, rig.memory_bytes) == (0, 0)

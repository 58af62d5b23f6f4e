"""Pacing: publishers wait while half of those who move are far behind; nobody else makes them wait."""

import contextlib
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import frame

PACE = 100_000
FAR = bytes(300_000)  # more than a subscriber may lag before it counts
MakeRig = Callable[..., Rig]


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    # A short close_deadline makes the engine look every 5 ms.
    return make_rig(close_deadline=0.04)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/paced", pace_lag_bytes=PACE)


def is_read(rig: Rig, publisher: Peer) -> bool:
    """Whether the engine reads this publisher now; what it sends for that is given back at once."""
    before = len(rig.lent(publisher))
    publisher.send(b"?")
    rig.settle()
    if len(rig.lent(publisher)) == before:
        return False
    rig.engine.resume(publisher.token)
    rig.settle()
    return True


def read_all(rig: Rig, peers: list[Peer], count: int) -> None:
    for peer in peers:
        peer.read(count)


def test_while_the_only_subscriber_is_far_behind_publishers_are_not_read(rig: Rig, topic: Topic) -> None:
    slow, publisher = rig.connect_slow(topic), rig.connect(topic, PUBLISHER)
    assert is_read(rig, publisher)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert not is_read(rig, publisher)
    slow.read(len(frame(FAR)))
    rig.until(lambda: rig.lent(publisher) == b"??")
    assert not topic.paced


def test_back_within_the_bound_is_enough(rig: Rig, topic: Topic) -> None:
    slow, publisher = rig.connect_slow(topic), rig.connect(topic, PUBLISHER)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert not is_read(rig, publisher)
    slow.read(len(FAR) - PACE + 1000)
    rig.until(lambda: rig.lent(publisher) == b"?")
    assert topic.log_bytes > 0


@pytest.mark.parametrize(("fast", "slow", "paced"), [(2, 2, True), (3, 2, False), (0, 2, True), (9, 1, False)])
def test_half_of_the_subscribers_are_enough_and_less_are_not(
    rig: Rig, topic: Topic, fast: int, slow: int, paced: bool
) -> None:
    readers = [rig.connect(topic) for _ in range(fast)]
    for _ in range(slow):
        rig.connect_slow(topic)
    publisher = rig.connect(topic, PUBLISHER)
    topic.publish(FAR)
    read_all(rig, readers, len(frame(FAR)))
    rig.watch(0.03)
    assert topic.paced == paced
    assert is_read(rig, publisher) != paced


def test_one_stalled_among_a_hundred_holds_nobody_up(rig: Rig, topic: Topic) -> None:
    readers = [rig.connect(topic) for _ in range(99)]
    rig.connect_slow(topic)
    publisher = rig.connect(topic, PUBLISHER)
    for number in range(20):
        topic.publish(bytes(20_000))
        read_all(rig, readers, len(frame(bytes(20_000))))
        assert not topic.paced
        assert is_read(rig, publisher), number


def test_lag_equal_to_the_bound_does_not_pace(rig: Rig) -> None:
    topic = rig.engine.topic("/edge", pace_lag_bytes=20_004 - 4480)
    slow = rig.connect_in_mid_frame(topic, bytes(20_000))
    bound = len(frame(bytes(20_000))) - slow.taken
    edge = rig.engine.topic("/edge of this kernel", pace_lag_bytes=bound)
    rig.connect_in_mid_frame(edge, bytes(20_000))
    rig.watch(0.05, that=lambda: not edge.paced)
    edge.publish(b"")
    rig.until(lambda: edge.paced)


def test_a_subscriber_that_took_nothing_for_a_second_paces_no_longer(rig: Rig, topic: Topic) -> None:
    rig.connect_slow(topic)
    publisher = rig.connect(topic, PUBLISHER)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert not is_read(rig, publisher)
    rig.until(lambda: not topic.paced, 3.0)
    rig.until(lambda: rig.lent(publisher) == b"?")


def test_when_the_slow_one_goes_publishers_go_on(rig: Rig, topic: Topic) -> None:
    slow, publisher = rig.connect_slow(topic), rig.connect(topic, PUBLISHER)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert not is_read(rig, publisher)
    slow.close()
    rig.until(lambda: rig.lent(publisher) == b"?")
    assert not topic.paced


def test_a_duplex_clients_own_cursor_does_not_stop_its_own_socket(rig: Rig, topic: Topic) -> None:
    duplex, other = rig.connect_slow(topic, DUPLEX), rig.connect(topic, PUBLISHER)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert is_read(rig, duplex)
    assert not is_read(rig, other)


@pytest.mark.hosted  # with threads one of them is reviewed before the other
def test_two_duplex_clients_far_behind_hold_each_other(rig: Rig, topic: Topic) -> None:
    both = [rig.connect_slow(topic, DUPLEX) for _ in range(2)]
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert [is_read(rig, duplex) for duplex in both] == [False, False]
    both[0].read(len(frame(FAR)))
    rig.until(lambda: rig.lent(both[1]) == b"?")


def test_a_subscriber_that_sends_is_read_while_its_topic_is_paced(rig: Rig, topic: Topic) -> None:
    slow = rig.connect_slow(topic, SUBSCRIBER)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert is_read(rig, slow)


def test_another_topic_is_not_paced(rig: Rig, topic: Topic) -> None:
    rig.connect_slow(topic)
    other = rig.engine.topic("/other")
    publisher = rig.connect(other, PUBLISHER)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert is_read(rig, publisher)


def test_without_subscribers_nobody_waits(rig: Rig, topic: Topic) -> None:
    publisher = rig.connect(topic, PUBLISHER)
    topic.publish(FAR)
    assert not topic.paced
    assert is_read(rig, publisher)


def test_a_held_publisher_can_be_closed_and_aborted_and_can_leave(rig: Rig, topic: Topic) -> None:
    slow = rig.connect_slow(topic)
    publishers = [rig.connect(topic, PUBLISHER) for _ in range(9)]
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert not any(is_read(rig, publisher) for publisher in publishers)
    for number, publisher in enumerate(publishers):
        if number % 3 == 0:
            rig.engine.abort(publisher.token)
        elif number % 3 == 1:
            rig.engine.end(publisher.token, b"\x88\x00", discard=True)
            publisher.close()
    rig.until(lambda: sum(rig.departed(publisher) is not None for publisher in publishers) == 6)
    slow.read(len(frame(FAR)))
    for publisher in publishers[2::3]:
        rig.until(lambda publisher=publisher: rig.lent(publisher) == b"?")  # type: ignore[misc]


def test_a_publisher_that_waits_is_counted_once_however_long_it_waits(rig: Rig, topic: Topic) -> None:
    rig.connect_slow(topic)
    publisher = rig.connect(topic, PUBLISHER)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    assert not is_read(rig, publisher)
    rig.watch(0.05)
    assert rig.engine.stats()["held_publishers"] == 1


def test_a_publisher_faster_than_its_subscriber_loses_nothing(rig: Rig) -> None:
    """A shell in small: what a publisher sends goes into the log, and the subscriber gets all of it."""
    topic = rig.engine.topic("/flood", pace_lag_bytes=50_000, max_lag_bytes=20_000_000)
    publisher, slow = rig.connect(topic, PUBLISHER), rig.connect_slow(topic)
    data, got, sent = bytes(range(256)) * 8000, bytearray(), 0

    def all_through() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            sent += publisher.socket.send(data[sent : sent + 50_000])
        for event in rig.of(publisher, 0):
            topic.publish(event.data)
            rig.engine.resume(publisher.token)
        rig.events.clear()
        slow.drain(100_000)
        got.extend(slow.take())
        return len(got) >= len(data)

    rig.until(all_through)
    payloads = bytearray()
    while len(got):
        header = 4 if got[1] == 126 else 10 if got[1] == 127 else 2
        size = int.from_bytes(got[2:header], "big") if header > 2 else got[1]
        payloads += got[header : header + size]
        del got[: header + size]
    assert data.startswith(payloads) and len(payloads) > len(data) - 70_000

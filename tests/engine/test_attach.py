"""Attach, then answer: the offset is exactly the first message a subscriber gets, whatever comes between."""

import os
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Cause, EventKind, Topic
from tests.support.engine import Rig
from tests.support.frames import frame
from tests.support.sockets import Pair, descriptors_unchanged, unix_pair

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/doors")


def test_the_offset_of_a_fresh_topic_is_one(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    rig.engine.start(peer.token, fd)
    assert (peer.offset, peer.epoch) == (1, topic.epoch)


@pytest.mark.parametrize("others", [0, 1])
def test_the_offset_is_that_of_the_first_message_received(rig: Rig, topic: Topic, others: int) -> None:
    listeners = [rig.connect(topic) for _ in range(others)]
    for number in range(1, 6):
        assert topic.publish(f"message {number}") == number
    peer = rig.connect(topic)
    assert peer.offset == 6
    assert topic.publish("message 6") == 6
    peer.expect(frame("message 6"))
    for listener in listeners:
        listener.expect(*(frame(f"message {number}") for number in range(1, 7)))


def test_what_is_published_between_attach_and_start_arrives_after_the_head(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer, fd = rig.attach(topic, pair=new_pair())
    topic.publish("one")
    rig.settle()
    topic.publish_many(["two", bytes(300_000)])
    rig.settle()
    rig.engine.start(peer.token, fd, HEAD)
    topic.publish("four")
    peer.expect(HEAD, frame("one"), frame("two"), frame(bytes(300_000)), frame("four"))
    assert (peer.offset, topic.log_bytes, rig.memory_bytes) == (1, 0, 0)


def test_each_of_many_attached_at_different_times_gets_its_own_suffix(rig: Rig, topic: Topic) -> None:
    attached = []
    for number in range(1, 8):
        attached.append(rig.attach(topic))
        assert attached[-1][0].offset == number
        topic.publish(f"message {number}".ljust(1500, "."))
        rig.turn()
    for peer, fd in reversed(attached):
        rig.engine.start(peer.token, fd, HEAD)
    for peer, _ in attached:
        peer.expect(HEAD, *(frame(f"message {number}".ljust(1500, ".")) for number in range(peer.offset, 8)))
    assert rig.memory_bytes == 0


def test_joining_while_another_is_behind_begins_at_the_end_of_the_log(rig: Rig, topic: Topic) -> None:
    slow = rig.connect_in_mid_frame(topic, bytes(20_000))
    late, fd = rig.attach(topic)
    topic.publish("new")
    rig.settle()
    rig.engine.start(late.token, fd, HEAD)
    late.expect(HEAD, frame("new"))
    slow.expect(frame(bytes(20_000)), frame("new"))


def test_one_that_has_everything_and_one_that_joins_the_empty_log_both_go_on(rig: Rig, topic: Topic) -> None:
    first = rig.connect(topic)
    topic.publish("one")
    first.expect(frame("one"))
    second, fd = rig.attach(topic)
    rig.engine.start(second.token, fd)
    topic.publish("two")
    second.expect(frame("two"))
    first.expect(frame("two"))


@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
def test_abort_of_an_attach_gives_the_log_back(rig: Rig, topic: Topic, size: int) -> None:
    with descriptors_unchanged():
        peer, fd = rig.attach(topic)
        topic.publish(bytes(size))
        rig.settle()
        assert topic.log_bytes > size
        rig.engine.abort(peer.token)
        rig.settle()
        assert (topic.log_bytes, rig.memory_bytes, topic.subscribers, topic.clients, rig.connections) == (0, 0, 0, 0, 0)
        os.close(fd)
        peer.close()
    assert rig.departed(peer) is None


def test_abort_of_an_attach_leaves_those_who_listen_alone(rig: Rig, topic: Topic) -> None:
    listener = rig.connect(topic)
    peer, fd = rig.attach(topic)
    os.close(fd)
    topic.publish("one")
    rig.engine.abort(peer.token)
    topic.publish("two")
    listener.expect(frame("one"), frame("two"))
    assert (topic.subscribers, rig.memory_bytes) == (1, 0)


def test_a_publisher_has_no_cursor_and_holds_no_log(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER, head=HEAD)
    topic.publish("nobody listens")
    peer.expect(HEAD)
    assert (peer.offset, topic.subscribers, topic.clients, rig.memory_bytes) == (1, 0, 1, 0)


@pytest.mark.parametrize("role", [SUBSCRIBER, DUPLEX])
def test_subscribers_counts_cursors_from_attach_on(rig: Rig, topic: Topic, role: int) -> None:
    peer, fd = rig.attach(topic, role)
    assert (topic.subscribers, topic.clients) == (1, 1)
    rig.engine.start(peer.token, fd)
    rig.settle()
    assert (topic.subscribers, topic.clients) == (1, 1)
    peer.close()
    assert rig.until_departed(peer) == (Cause.LEFT, 0)
    assert (topic.subscribers, topic.clients) == (0, 0)


def test_the_head_waits_for_room_in_a_full_socket_and_precedes_the_data(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic, pair=unix_pair(send_buffer=0))
    topic.publish("data")
    rig.engine.start(peer.token, fd, b"H" * 30_000)
    rig.settle()
    peer.expect(b"H" * 30_000, frame("data"))


@pytest.mark.hosted
def test_the_head_and_what_waits_go_out_in_one_call(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    topic.publish("one")
    rig.engine.start(peer.token, fd, HEAD)
    rig.engine.turn()
    assert peer.socket.recv(1000) == HEAD + frame("one")


@pytest.mark.parametrize("leftover", [b"", b"early bytes"])
def test_leftover_is_lent_first(rig: Rig, topic: Topic, leftover: bytes) -> None:
    peer = rig.connect(topic, DUPLEX, head=HEAD, leftover=leftover)
    assert rig.lent(peer) == leftover
    assert len(rig.of(peer, EventKind.LENT)) == bool(leftover)


def test_a_descriptor_that_is_no_socket_departs_as_reset_and_is_closed(rig: Rig, topic: Topic) -> None:
    with descriptors_unchanged():
        reading, writing = os.pipe()
        os.close(writing)
        token, _, _ = rig.engine.attach(topic, role=SUBSCRIBER)
        topic.publish("held")
        rig.engine.start(token, reading, HEAD)
        rig.settle()
    assert [(event.kind, event.detail) for event in rig.events] == [(EventKind.DEPARTED, Cause.RESET)]
    assert (rig.memory_bytes, topic.subscribers) == (0, 0)


def test_a_peer_that_has_gone_before_start_departs(rig: Rig, topic: Topic, new_pair: Callable[..., Pair]) -> None:
    peer, fd = rig.attach(topic, pair=new_pair())
    peer.close()
    rig.engine.start(peer.token, fd, HEAD)
    cause, close_sent = rig.until_departed(peer)
    assert cause in (Cause.LEFT, Cause.RESET)
    assert close_sent == 0
    assert (topic.subscribers, rig.memory_bytes, rig.connections) == (0, 0, 0)


def test_the_epoch_is_positive_in_64_bits_and_another_for_each_topic(rig: Rig) -> None:
    topics = [rig.engine.topic(f"/{number}") for number in range(20)]
    assert len({topic.epoch for topic in topics}) == 20
    assert all(0 <= topic.epoch < 1 << 63 for topic in topics)

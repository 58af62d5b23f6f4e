"""Delivery: partial writes, many segments a send, slow and fast readers, and the memory that comes back."""

import itertools
import os
import random
from collections.abc import Callable

import pytest

from fastfan import Cause, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import CLOSE, frame
from tests.support.sockets import Pair, readable, tcp_pair, unix_pair

BYE = frame(b"\x03\xe8", CLOSE)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/delivery")


def some_payloads(seed: int, count: int, largest: int) -> list[bytes]:
    chance = random.Random(seed)
    sizes = [chance.choice([0, 1, 125, 126, chance.randrange(largest)]) for _ in range(count)]
    return [chance.randbytes(size) for size in sizes]


@pytest.mark.parametrize("read", [1, 13, 4095, 4096, 100_000])
def test_a_tiny_send_buffer_changes_nothing_but_the_pace(rig: Rig, topic: Topic, read: int) -> None:
    peer = rig.connect_slow(topic)
    payloads = some_payloads(1, 300 if read > 100 else 10, 3000 if read > 100 else 300)
    topic.publish_many(payloads)
    wanted = b"".join(map(frame, payloads))

    for _ in range(2 * len(wanted)):
        rig.turn()
        peer.drain(read)
    assert peer.read(len(wanted)) == wanted  # an I/O thread may not have had its turn yet
    rig.until(lambda: (topic.log_bytes, rig.memory_bytes) == (0, 0))


def test_tcp_with_the_smallest_buffers_delivers_everything(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, pair=tcp_pair(send_buffer=0, receive_buffer=0))
    payloads = some_payloads(2, 100, 4000)
    topic.publish_many(payloads)
    peer.expect(*map(frame, payloads))
    assert rig.memory_bytes == 0


@pytest.mark.parametrize("size", [100, 5_000, 300_000])
def test_what_is_owed_is_sent_over_any_number_of_segments(
    rig: Rig, topic: Topic, size: int, new_pair: Callable[..., Pair]
) -> None:
    peer, fd = rig.attach(topic, pair=new_pair())
    payloads = [bytes([number % 256]) * size for number in range(8_000_000 // size // (3 if size == 100 else 1))]
    for payload in payloads:
        topic.publish(payload)
    rig.engine.start(peer.token, fd)
    peer.expect(*map(frame, payloads))
    assert rig.memory_bytes == 0


def test_more_segments_than_one_call_may_carry_are_sent_with_several(rig: Rig, topic: Topic) -> None:
    # Each in a segment of its own, and the kernel takes them all at once.
    peer, fd = rig.attach(topic, pair=unix_pair(send_buffer=1 << 20))
    filler, small = bytes(3900), bytes(30)
    for _ in range(3):
        topic.publish_many([filler, small] * 40)
    rig.engine.start(peer.token, fd)
    peer.expect((frame(filler) + frame(small)) * 120)


def test_slow_and_fast_readers_see_the_same_stream(rig: Rig, topic: Topic, new_pair: Callable[..., Pair]) -> None:
    fast = [rig.connect(topic, pair=new_pair()) for _ in range(3)]
    slow = [rig.connect_slow(topic) for _ in range(3)]
    chance = random.Random(3)
    payloads = some_payloads(3, 600, 9000)
    rest = iter(payloads)
    while batch := list(itertools.islice(rest, chance.randrange(1, 40))):
        topic.publish_many(batch)
        rig.turn()
        for peer in fast:
            peer.drain()
        for peer in slow:
            peer.drain(chance.randrange(5000))
    wanted = b"".join(map(frame, payloads))
    for peer in fast + slow:
        same = peer.read(len(wanted)) == wanted
        assert same
    rig.settle()
    assert (topic.log_bytes, rig.memory_bytes) == (0, 0)


def test_a_fast_reader_does_not_wait_for_a_slow_one(rig: Rig, topic: Topic) -> None:
    slow, fast = rig.connect_in_mid_frame(topic, bytes(100_000)), rig.connect(topic)
    for number in range(100):
        topic.publish(f"message {number}")
        fast.expect(frame(f"message {number}"))
    slow.expect(frame(bytes(100_000)), *(frame(f"message {number}") for number in range(100)))


def test_topics_do_not_mix(rig: Rig) -> None:
    topics = [rig.engine.topic(f"/{number}") for number in range(20)]
    peers = [[rig.connect(topic) for _ in range(3)] for topic in topics]
    for turn in range(10):
        for number, topic in enumerate(topics):
            topic.publish(f"{number} in turn {turn}")
        if turn % 3 == 0:
            rig.turn()
    for number, listeners in enumerate(peers):
        for peer in listeners:
            peer.expect(*(frame(f"{number} in turn {turn}") for turn in range(10)))


@pytest.mark.hosted
def test_a_fan_out_to_many_is_cut_and_loses_nobody(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(400)]
    for number in range(20):
        topic.publish(f"message {number}")
        rig.engine.turn(budget=0.0)
    for peer in peers:
        peer.expect(*(frame(f"message {number}") for number in range(20)))
    assert rig.memory_bytes == 0


@pytest.mark.hosted
def test_one_turn_serves_everybody_with_one_send_each(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(5)]
    for number in range(50):
        topic.publish(f"message {number}")
    rig.engine.turn(budget=1.0)
    for peer in peers:
        assert peer.socket.recv(1 << 20) == b"".join(frame(f"message {number}") for number in range(50))


def test_subscribers_that_leave_during_the_fan_out_disturb_nobody(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(60)]
    for number, peer in enumerate(peers):
        if number % 3 == 0:
            peer.close()
    topic.publish("one")
    topic.publish(bytes(5000))
    for number, peer in enumerate(peers):
        if number % 3:
            peer.expect(frame("one"), frame(bytes(5000)))
    rig.until(lambda: topic.subscribers == 40)
    assert rig.memory_bytes == 0


@pytest.mark.hosted
def test_one_that_leaves_between_two_slices_makes_nobody_miss_a_message(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(1000)]
    topic.publish(bytes(20_000))
    rig.engine.turn(budget=0.0)
    served = [peer for peer in peers if readable(peer.socket.fileno())]
    assert 0 < len(served) < len(peers)
    for peer in served[:10]:
        rig.engine.abort(peer.token)
    rig.settle()
    for peer in peers:
        peer.drain()
    assert {len(peer.got) for peer in peers} == {20_004}


@pytest.mark.hosted
@pytest.mark.parametrize("seed", range(3))
def test_any_of_the_served_may_leave_after_all_of_the_unserved(rig: Rig, topic: Topic, seed: int) -> None:
    # Then the pass stands behind the last of the view, and the hole that one leaves is filled from there.
    peers = [rig.connect(topic) for _ in range(1000)]
    topic.publish(bytes(20_000))
    served: list[Peer] = []
    while len(served) <= 10:
        rig.engine.turn(budget=0.0)
        served = [peer for peer in peers if readable(peer.socket.fileno())]
    assert len(served) < len(peers)
    for peer in (peer for peer in peers if peer not in served):
        rig.engine.abort(peer.token)
    random.Random(seed).shuffle(served)
    *leaving, last = served
    for peer in leaving:
        rig.engine.abort(peer.token)
    rig.settle()
    topic.publish("after")
    last.expect(frame(bytes(20_000)), frame("after"))
    assert (rig.connections, topic.subscribers) == (1, 1)


@pytest.mark.hosted
def test_what_is_published_between_two_slices_reaches_those_already_served_too(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(1000)]
    topic.publish(bytes(20_000))
    rig.engine.turn(budget=0.0)
    served = [peer for peer in peers if readable(peer.socket.fileno())]
    assert 0 < len(served) < len(peers)
    topic.publish("late")
    rig.settle()
    for peer in peers:
        peer.drain()
        whole = peer.take() == frame(bytes(20_000)) + frame("late")
        assert whole
    assert rig.memory_bytes == 0


def test_fragments_of_what_was_sent_are_counted(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    before = rig.sent_bytes
    topic.publish(bytes(1000))
    peer.expect(frame(bytes(1000)))
    assert rig.sent_bytes - before == len(frame(bytes(1000)))


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_log_is_held_for_the_slowest_and_freed_when_it_has_everything(rig: Rig, topic: Topic) -> None:
    slow, fast = rig.connect_slow(topic), rig.connect(topic)
    wanted = [frame(bytes([number]) * 20_000) for number in range(50)]
    for number in range(50):
        topic.publish(bytes([number]) * 20_000)
        fast.expect(wanted[number])
    held = topic.log_bytes
    assert 900_000 < held <= rig.memory_bytes
    slow.read(500_000)
    rig.settle()
    assert 400_000 < topic.log_bytes < held - 200_000
    slow.expect(b"".join(wanted)[500_000:])
    assert (topic.log_bytes, rig.memory_bytes) == (0, 0)


@pytest.mark.parametrize("way", ["closes", "abort"])
def test_the_log_is_freed_when_the_slow_one_goes(rig: Rig, topic: Topic, way: str) -> None:
    slow, fast = rig.connect_in_mid_frame(topic, bytes(70_000)), rig.connect(topic)
    topic.publish_many([bytes(1000)] * 500)
    fast.expect(frame(bytes(1000)) * 500)
    assert topic.log_bytes > 500_000
    slow.close() if way == "closes" else rig.engine.abort(slow.token)
    rig.until_departed(slow)
    assert (topic.log_bytes, rig.memory_bytes) == (0, 0)
    topic.publish("go on")
    fast.expect(frame("go on"))


@pytest.mark.parametrize("size", [9_000, 300_000])
def test_closing_in_mid_frame_pins_that_frame_alone(rig: Rig, topic: Topic, size: int) -> None:
    peer = rig.connect_in_mid_frame(topic, bytes(size))
    topic.publish_many([bytes(100_000)] * 30)
    rig.engine.end(peer.token, BYE)
    rig.settle()
    assert topic.log_bytes == 0
    assert size < rig.memory_bytes < 2 * size + 17_000
    peer.expect(frame(bytes(size)), BYE)
    assert rig.memory_bytes == 0


def test_pins_of_several_in_one_segment_end_with_the_last(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect_slow(topic) for _ in range(5)]
    topic.publish(bytes(50_000))
    rig.settle()
    for peer in peers:
        rig.engine.end(peer.token, BYE)
    rig.settle()
    assert topic.log_bytes == 0
    for peer in peers:
        assert rig.memory_bytes > 50_000
        peer.expect(frame(bytes(50_000)), BYE)
    assert rig.memory_bytes == 0


def test_pinned_frames_are_given_back_when_all_vanish_in_mid_frame(rig: Rig, topic: Topic) -> None:
    peers = []
    for number in range(12):
        peers.append(rig.connect_in_mid_frame(topic, bytes(10_000 * (number + 1))))
    for number, peer in enumerate(peers):
        if number % 2:
            rig.engine.end(peer.token, BYE)
    rig.settle()
    assert rig.memory_bytes > 0
    for peer in reversed(peers):
        peer.close()
    for peer in peers:
        rig.until_departed(peer)
    assert (topic.log_bytes, rig.memory_bytes, rig.connections) == (0, 0, 0)


def test_a_pin_outlives_new_frames_in_the_same_segment(rig: Rig, topic: Topic) -> None:
    closing = rig.connect_in_mid_frame(topic, bytes(9_000))
    fast = rig.connect(topic)
    rig.engine.end(closing.token, BYE)
    for number in range(300):
        topic.publish(f"message {number}")
        fast.expect(frame(f"message {number}"))
    closing.expect(frame(bytes(9_000)), BYE)
    assert rig.memory_bytes == 0


def test_spare_segments_are_bounded(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    topic.publish_many([bytes(200_000)] * 200)
    rig.engine.abort(peer.token)
    rig.settle()
    assert rig.memory_bytes == 0
    assert 0 < rig.engine.stats()["spare_bytes"] <= 16 << 20
    os.close(fd)


def test_spare_segments_go_back_to_the_system_after_a_while(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(close_deadline=0.04)  # ticks every 5 ms
    topic = rig.engine.topic("/spare")
    peer = rig.connect(topic)
    topic.publish_many([bytes(1000)] * 3000)
    peer.expect(frame(bytes(1000)) * 3000)
    assert rig.engine.stats()["spare_bytes"] > 1_000_000
    peer.close()
    rig.until(lambda: rig.engine.stats()["spare_bytes"] == 0)


def test_a_departure_in_mid_frame_names_the_peer_and_not_the_log(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, bytes(50_000))
    rig.engine.end(peer.token, BYE)
    rig.settle()
    peer.close()
    cause, close_sent = rig.until_departed(peer)
    assert cause in (Cause.LEFT, Cause.RESET)
    assert close_sent == 0

"""Beats: pings spread over the interval, and a peer's time to answer that runs only while nothing is in its way."""

import itertools
import time
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, Cause, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import CLOSE, PING, PONG, frame, parse

PING_FRAME = frame(b"", PING)
STEP = 0.1  # most that one beat may count


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/beats")


def beat(rig: Rig, interval: float, deadline: float) -> None:
    rig.engine.beat(interval, deadline, STEP)
    rig.settle()


def beat_for(
    rig: Rig, seconds: float, interval: float, deadline: float, *, each: Callable[[], object] = lambda: None
) -> None:
    """Beats every few milliseconds until about that many seconds have counted: of a longer pause only a STEP does."""
    counted, last = 0.0, time.monotonic()
    while counted < seconds:
        beat(rig, interval, deadline)
        each()
        rig.watch(0.004)
        now = time.monotonic()
        counted, last = counted + min(now - last, STEP), now


def until_pinged(rig: Rig, *peers: Peer, interval: float = 0.02, deadline: float = 60.0) -> None:
    def all_pinged() -> bool:
        rig.engine.beat(interval, deadline, STEP)
        for peer in peers:
            peer.drain()
        return all(peer.got for peer in peers)

    rig.until(all_pinged)


def test_every_open_connection_is_pinged_within_an_interval(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic, role) for role in (1, 2, 3)]
    until_pinged(rig, *peers)
    for peer in peers:
        assert peer.take().startswith(PING_FRAME)


def test_one_that_answers_is_pinged_once_an_interval(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    answered = 0

    def answer() -> None:
        nonlocal answered
        if peer.drain():
            peer.take()
            answered += 1
            peer.send(frame(b"", PONG))
            rig.settle()
            rig.engine.resume(peer.token)

    beat_for(rig, 0.6, 0.1, 0.3, each=answer)
    assert 3 <= answered <= 8
    assert rig.engine.stats()["pings"] in (answered, answered + 1)
    assert rig.condemned(peer) is None


def test_first_pings_are_spread_over_the_interval(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(300)]
    pings = [0]

    def count() -> None:
        pings.append(rig.engine.stats()["pings"])

    beat_for(rig, 0.45, 0.4, 60.0, each=count)
    assert pings[-1] >= len(peers)
    assert max(later - earlier for earlier, later in itertools.pairwise(pings)) < len(peers) // 2


def test_one_that_does_not_answer_is_condemned_after_the_deadline_and_not_before(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    until_pinged(rig, peer)
    began = time.monotonic()
    while rig.condemned(peer) is None:
        beat(rig, 0.02, 0.3)
        rig.watch(0.004)
        assert time.monotonic() - began < 5
    assert rig.condemned(peer) == Cause.NO_PONG
    assert time.monotonic() - began >= 0.28
    rig.engine.end(peer.token, frame(b"\x03\xf3", CLOSE))
    rig.settle()
    peer.drain()
    assert parse(peer.take())[0] == [(PING, b""), (CLOSE, b"\x03\xf3")]
    peer.close()
    assert rig.until_departed(peer) == (Cause.NO_PONG, 1)


def test_it_is_not_pinged_again_before_it_has_answered(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    until_pinged(rig, peer)
    beat_for(rig, 0.2, 0.02, 60.0)
    peer.drain()
    assert peer.take() == PING_FRAME


@pytest.mark.parametrize("data", [frame(b"", PONG), b"x"], ids=["pong", "any byte"])
def test_any_byte_counts_as_an_answer(rig: Rig, topic: Topic, data: bytes) -> None:
    peer = rig.connect(topic, PUBLISHER)
    for _ in range(4):
        until_pinged(rig, peer, deadline=0.3)
        peer.take()
        beat_for(rig, 0.15, 60.0, 0.3)
        peer.send(data)
        rig.settle()
        rig.engine.resume(peer.token)
        rig.settle()
    assert rig.condemned(peer) is None


def test_a_ping_that_waits_for_a_boundary_does_not_run_the_clock(rig: Rig, topic: Topic) -> None:
    payload = bytes(50_000)
    peer = rig.connect_in_mid_frame(topic, payload)
    topic.publish("next")
    beat_for(rig, 1.2, 0.01, 0.1)
    assert rig.condemned(peer) is None
    peer.expect(frame(payload), PING_FRAME, frame("next"))
    beat_for(rig, 0.05, 0.01, 1.0)
    assert rig.condemned(peer) is None
    beat_for(rig, 0.3, 0.01, 0.1)
    assert rig.condemned(peer) == Cause.NO_PONG


def test_the_clock_stands_still_while_the_connection_is_blocked_on_data(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_slow(topic)
    until_pinged(rig, peer)
    topic.publish(bytes(50_000))
    beat_for(rig, 0.3, 0.02, 0.1)
    assert rig.condemned(peer) is None


def test_the_clock_stands_still_while_the_connection_is_lent(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(b"a chunk that Python is slow with")
    rig.settle()
    until_pinged(rig, peer)
    peer.send(frame(b"", PONG))
    beat_for(rig, 0.3, 0.02, 0.1)
    assert rig.condemned(peer) is None


def test_the_clock_stands_still_while_the_publisher_is_held(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(close_deadline=0.04)
    topic = rig.engine.topic("/beats", pace_lag_bytes=10_000)
    publisher = rig.connect(topic, PUBLISHER)
    until_pinged(rig, publisher)
    rig.connect_in_mid_frame(topic, bytes(50_000))
    rig.until(lambda: topic.paced)
    publisher.send(frame(b"", PONG))
    beat_for(rig, 0.3, 60.0, 0.1)
    assert rig.lent(publisher) == b""
    assert rig.condemned(publisher) is None


def pause(seconds: float) -> None:
    """What a stopped process does."""
    time.sleep(seconds)


def test_a_pause_longer_than_every_deadline_is_held_against_nobody(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(50)]
    until_pinged(rig, *peers)
    pause(0.5)
    beat(rig, 0.02, 0.3)
    assert not any(rig.condemned(peer) for peer in peers)


def test_answers_that_wait_in_the_kernel_are_read_before_anybody_is_judged(rig: Rig, topic: Topic) -> None:
    """More of them than one poll tells: each connection gets one read before it is judged."""
    peers = [rig.connect(topic) for _ in range(300)]
    began = time.monotonic()
    until_pinged(rig, *peers)
    # Who was pinged first has been silent for at most so long, and may be for three more beats, but a little.
    deadline = time.monotonic() - began + 2.8 * STEP
    for _ in range(2):
        pause(STEP)
        beat(rig, 60.0, deadline)
    for peer in peers:
        peer.send(frame(b"", PONG))
    pause(STEP)
    beat(rig, 60.0, deadline)
    condemned = sum(rig.condemned(peer) is not None for peer in peers)
    assert condemned == 0, f"{condemned} of {len(peers)} were condemned with their pong already in our kernel"


def test_a_connection_that_is_closing_is_not_pinged(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, DUPLEX)
    rig.engine.end(peer.token, frame(b"", CLOSE))
    beat_for(rig, 0.1, 0.01, 0.05)
    peer.expect(frame(b"", CLOSE))
    assert rig.condemned(peer) is None


def test_an_attached_connection_is_neither_pinged_nor_judged(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    beat_for(rig, 0.1, 0.01, 0.05)
    rig.engine.start(peer.token, fd, b"HEAD")
    rig.settle()
    peer.drain()
    assert peer.take() == b"HEAD"

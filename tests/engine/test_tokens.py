"""Tokens outlive slots and descriptors: an order for a connection that is gone touches nobody."""

import contextlib
import os
import random
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Cause, EventKind, Overloaded, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import CLOSE, frame
from tests.support.sockets import Pair, descriptors_unchanged, tcp_pair, unix_pair

BYE = frame(b"\x03\xe8", CLOSE)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/tokens")


def order_everything(rig: Rig, token: int) -> None:
    rig.engine.send(token, b"\x8a\x00")
    rig.engine.resume(token)
    rig.engine.end(token, BYE)
    rig.engine.end(token, BYE, discard=True)
    rig.engine.end(token, BYE, after_log=True, deadline=0.001)
    rig.engine.abort(token)
    rig.settle()


def test_a_slot_is_used_again_under_another_token(rig: Rig, topic: Topic) -> None:
    tokens = set()
    for _ in range(50):
        peer = rig.connect(topic)
        tokens.add(peer.token)
        rig.engine.abort(peer.token)
        rig.settle()
    assert len(tokens) == 50
    assert len({token & 0xFFFFFFFF for token in tokens}) == 1


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
def test_orders_for_a_connection_that_is_gone_do_not_touch_the_next_in_its_slot(
    rig: Rig, topic: Topic, role: int
) -> None:
    gone = rig.connect(topic, role)
    gone.close()
    rig.until_departed(gone)
    peer = rig.connect(topic, role)
    assert peer.token & 0xFFFFFFFF == gone.token & 0xFFFFFFFF
    peer.send(b"lent")
    rig.settle()
    order_everything(rig, gone.token)
    topic.publish("data")
    peer.expect(*[frame("data")] * bool(role & SUBSCRIBER))
    assert [event.kind for event in rig.events if event.token == peer.token] == [EventKind.LENT]


def test_orders_given_before_a_connection_went_do_not_touch_the_next(rig: Rig, topic: Topic) -> None:
    gone = rig.connect(topic)
    rig.engine.abort(gone.token)
    # In one turn, behind the abort: a reused slot would be hit by these.
    rig.engine.send(gone.token, b"\x8a\x00")
    rig.engine.end(gone.token, BYE)
    rig.settle()
    peer = rig.connect(topic)
    peer.expect_nothing()
    assert rig.departed(gone) == (Cause.ABORTED, 0)


@pytest.mark.parametrize("token", [0, 1, 255, 1 << 32, (1 << 32) + 5, (7 << 32) + 300, (1 << 64) - 1, (1 << 64) - 2])
def test_a_token_that_never_was_is_ignored(rig: Rig, topic: Topic, token: int) -> None:
    peer = rig.connect(topic, PUBLISHER)
    if token != peer.token:
        order_everything(rig, token)
    topic.publish("still here")
    peer.expect_nothing()
    assert rig.events == []


def test_a_descriptor_number_that_is_reused_at_once_belongs_to_the_new_one(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    first = rig.connect(topic, pair=new_pair())
    topic.publish(bytes(1_000_000))
    rig.settle()
    rig.engine.abort(first.token)
    rig.settle()
    first.close()
    second = rig.connect(topic, DUPLEX, new_pair())  # takes the lowest free numbers: those of the first
    order_everything(rig, first.token)
    second.send(b"hello")
    rig.until(lambda: rig.lent(second) == b"hello")
    topic.publish("for the second")
    second.expect(frame("for the second"))


def test_a_descriptor_handed_over_for_a_token_that_is_gone_is_closed(rig: Rig, topic: Topic) -> None:
    with descriptors_unchanged():
        peer, fd = rig.attach(topic)
        rig.engine.abort(peer.token)
        rig.engine.start(peer.token, fd, b"HEAD")
        rig.settle()
        peer.drain()
        assert peer.ended
        peer.close()
    assert rig.connections == 0


def test_a_second_start_changes_nothing_and_closes_its_descriptor(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    ours, theirs = unix_pair()
    rig.engine.start(peer.token, ours.detach(), b"HEAD")
    rig.settle()
    with theirs:
        assert theirs.recv(100) == b""
    topic.publish("data")
    peer.expect(frame("data"))
    assert (topic.subscribers, topic.clients, rig.connections) == (1, 1, 1)


def test_an_end_for_one_that_is_only_attached_leaves_it_attached(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    rig.engine.end(peer.token, BYE)
    rig.engine.send(peer.token, b"\x8a\x00")
    rig.engine.resume(peer.token)
    rig.settle()
    topic.publish("data")
    rig.engine.start(peer.token, fd)
    peer.expect(frame("data"))


def do_something(chance: random.Random, rig: Rig, topics: list[Topic], peer: Peer) -> None:
    engine = rig.engine
    match chance.randrange(10):
        case 0:
            peer.close()
        case 1:
            engine.abort(peer.token)
        case 2:
            engine.end(peer.token, BYE, discard=chance.random() < 0.5, after_log=chance.random() < 0.5)
        case 3:
            engine.send(peer.token, b"\x8a\x00" * chance.randrange(3000))
        case 4:
            engine.resume(peer.token)
        case 5 | 6:
            with contextlib.suppress(Overloaded):  # when I/O threads are behind
                chance.choice(topics).publish(bytes(chance.choice([0, 10, 5000, 300_000])))
        case 7 if peer.socket.fileno() >= 0:
            peer.drain(chance.randrange(100_000))
        case 8 if peer.socket.fileno() >= 0:
            with contextlib.suppress(OSError):  # closed, reset or full: as it happens
                peer.socket.send(bytes(chance.randrange(1, 2000)))
        case _:
            rig.turn()


@pytest.mark.parametrize("seed", [1, 2])
def test_two_thousand_connections_churn_and_leave_nothing_behind(make_rig: Callable[..., Rig], seed: int) -> None:
    rig, chance = make_rig(max_memory_bytes=32 << 20, close_deadline=0.1, write_timeout=0.2), random.Random(seed)
    topics = [rig.engine.topic(f"/{number}", max_lag_bytes=1 << 20) for number in range(5)]
    with descriptors_unchanged():
        for number in range(2000):
            pair = tcp_pair() if number % 10 == 0 else unix_pair(send_buffer=chance.choice([0, 50_000]))
            peer, fd = rig.attach(chance.choice(topics), chance.choice([PUBLISHER, SUBSCRIBER, DUPLEX]), pair)
            if chance.random() < 0.05:
                rig.engine.abort(peer.token)
                os.close(fd)
            else:
                rig.engine.start(peer.token, fd, b"HEAD", b"left" * chance.randrange(2))
            for other in chance.sample(rig.peers, min(3, len(rig.peers))):
                do_something(chance, rig, topics, other)
            if len(rig.peers) > 100:
                doomed = rig.peers.pop(chance.randrange(len(rig.peers)))
                rig.engine.abort(doomed.token)
                doomed.close()
            rig.turn()
        for peer in rig.peers:
            peer.close()
        seen = 0

        def all_gone() -> bool:
            nonlocal seen
            for event in rig.events[seen:]:
                if event.kind == EventKind.LENT:
                    rig.engine.resume(event.token)
            seen = len(rig.events)
            return rig.connections == 0

        rig.until(all_gone)
    assert [topic.log_bytes for topic in topics] == [0] * 5
    assert (rig.memory_bytes, [topic.clients for topic in topics]) == (0, [0] * 5)
    departed = [event.token for event in rig.events if event.kind == EventKind.DEPARTED]
    assert len(departed) == len(set(departed))

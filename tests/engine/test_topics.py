"""Topics: one for each name, kept while they have clients and a while longer; and how an engine goes as a whole."""

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, Engine, EngineClosed, Topic
from tests.support.engine import Rig
from tests.support.frames import frame
from tests.support.sockets import unix_pair

LONG = 3600.0


def test_a_name_has_one_topic(rig: Rig) -> None:
    assert rig.engine.topic("/a") is rig.engine.topic("/a")
    assert rig.engine.topic("/a") is not rig.engine.topic("/a/")
    assert [rig.engine.topic(name).name for name in ("/a", "/%20", "", "/é")] == ["/a", "/%20", "", "/é"]


def test_bounds_count_only_when_the_topic_is_made(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(close_deadline=0.04)
    topic = rig.engine.topic("/a", max_lag_bytes=1 << 20)
    assert rig.engine.topic("/a", max_lag_bytes=1) is topic
    peer = rig.connect_in_mid_frame(topic, bytes(50_000))
    rig.watch(0.05, that=lambda: rig.condemned(peer) is None)


def identity(topic: Topic) -> tuple[int, int]:
    return topic.epoch, topic.next_offset


def used_and_left(rig: Rig, name: str) -> tuple[int, int]:
    """A topic that had a client and two messages, and that nobody holds; its epoch and next offset."""
    topic = rig.engine.topic(name)
    peer = rig.connect(topic, DUPLEX)
    topic.publish_many(["one", "two"])
    rig.settle()
    peer.close()
    rig.until_departed(peer)
    assert topic.clients == 0
    return identity(topic)


def test_epoch_and_offset_outlive_the_last_client(rig: Rig) -> None:
    before = used_and_left(rig, "/a")
    assert rig.engine.sweep_topics(LONG, 100) == 0
    assert identity(rig.engine.topic("/a")) == before
    assert rig.connect(rig.engine.topic("/a")).offset == 3


def test_beyond_linger_a_topic_is_forgotten_and_begins_anew(rig: Rig) -> None:
    epoch, _ = used_and_left(rig, "/a")
    assert rig.engine.sweep_topics(0.0, 100) == 1
    assert rig.engine.topics_kept() == []
    anew = rig.engine.topic("/a")
    assert anew.epoch != epoch
    assert anew.next_offset == 1


def test_of_too_many_the_longest_idle_are_forgotten(rig: Rig) -> None:
    before = {name: used_and_left(rig, name) for name in ("/a", "/b", "/c", "/d")}
    assert rig.engine.sweep_topics(LONG, 2) == 2
    assert [topic.name for topic in rig.engine.topics_kept()] == ["/c", "/d"]
    assert identity(rig.engine.topic("/c")) == before["/c"]
    assert identity(rig.engine.topic("/a")) != before["/a"]


def test_a_topic_with_clients_is_never_forgotten(rig: Rig) -> None:
    topics = [rig.engine.topic(f"/{number}") for number in range(3)]
    rig.connect(topics[0], PUBLISHER)
    rig.connect(topics[1])
    peer, fd = rig.attach(topics[2])
    assert rig.engine.sweep_topics(0.0, 0) == 0
    assert rig.engine.topics_kept() == topics
    rig.engine.start(peer.token, fd)


def test_a_topic_the_program_holds_stays_the_same_when_it_is_forgotten(rig: Rig) -> None:
    used_and_left(rig, "/a")
    held = rig.engine.topic("/a")
    assert rig.engine.sweep_topics(0.0, 0) == 1
    assert rig.engine.topic("/a") is held
    peer = rig.connect(held)
    assert peer.offset == 3
    held.publish("three")
    peer.expect(frame("three"))
    assert rig.engine.topics_kept() == [held]


@pytest.mark.hosted
def test_forgetting_while_there_is_still_work_for_the_topic_is_safe(rig: Rig) -> None:
    for _ in range(20):
        topic = rig.engine.topic("/a")
        peers = [rig.connect(topic) for _ in range(3)]
        topic.publish(bytes(10_000))
        for peer in peers:
            rig.engine.abort(peer.token)
        del topic
        rig.engine.turn(budget=0.0)
        rig.engine.sweep_topics(0.0, 0)
        gc.collect()
        rig.settle()
    assert rig.memory_bytes == 0


def test_a_topic_that_only_the_engine_keeps_goes_on_delivering(rig: Rig) -> None:
    peer = rig.connect(rig.engine.topic("/a"))
    gc.collect()
    rig.engine.topic("/a").publish("one")
    gc.collect()
    peer.expect(frame("one"))


def test_ten_thousand_topics_come_and_go(rig: Rig) -> None:
    for number in range(10_000):
        rig.engine.topic(f"/{number}").publish("x")
    assert rig.engine.sweep_topics(LONG, 1000) == 9000
    assert rig.engine.sweep_topics(0.0, 1000) == 1000
    assert rig.memory_bytes == 0


# --- how an engine goes ----------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_engine_in_a_cycle_is_collected_with_all_it_holds() -> None:
    before = descriptors()

    class Host:
        def __init__(self) -> None:
            self.engine = Engine(io_threads=0)
            self.topics = [self.engine.topic(f"/{number}") for number in range(3)]
            self.partials = [topic.partial() for topic in self.topics]
            self.me = self

    ends = []
    host = Host()
    for topic, partial in zip(host.topics, host.partials, strict=True):
        partial.extend(bytes(100_000))
        for role in (1, 2, 3):
            ours, theirs = unix_pair(send_buffer=0)
            token, _, _ = host.engine.attach(topic, role=role)
            host.engine.start(token, ours.detach(), b"HEAD", b"leftover")
            host.engine.turn()
            ends.append(theirs)
        topic.publish(bytes(50_000))
        host.engine.turn()
        host.engine.send(token, b"\x8a\x00")
        host.engine.end(token, b"\x88\x00")
        host.engine.turn()
        host.engine.attach(topic, role=2)
        topic.publish(bytes(300_000))
    gone = weakref.ref(host)
    del host, topic, partial
    gc.collect()
    assert gone() is None
    for theirs in ends:
        with theirs:
            while theirs.recv(1 << 20):
                pass
    assert descriptors() == before


def test_an_engine_that_is_dropped_without_close_ends_its_connections() -> None:
    before = descriptors()
    engine = Engine(io_threads=0)
    ours, theirs = unix_pair()
    engine.start(engine.attach(engine.topic("/a"), role=2)[0], ours.detach())
    engine.turn()
    del engine
    gc.collect()
    with theirs:
        assert theirs.recv(10) == b""
    assert descriptors() == before


def test_a_topic_that_is_still_held_keeps_its_engine_alive(rig: Rig) -> None:
    topic = Engine().topic("/a")
    gc.collect()
    assert topic.publish("nobody") == 1


def test_a_partial_that_is_still_held_keeps_its_memory(make_rig: Callable[..., Rig]) -> None:
    partial = Engine().topic("/a").partial()
    partial.extend(bytes(1_000_000))
    gc.collect()
    assert partial.publish() == 1


def test_a_closed_engine_with_topics_in_use_can_be_collected() -> None:
    engine = Engine(io_threads=0)
    topic = engine.topic("/a")
    ours, theirs = unix_pair()
    engine.start(engine.attach(topic, role=2)[0], ours.detach())
    engine.turn()
    topic.publish(bytes(500_000))
    engine.close()
    del engine
    gc.collect()
    with pytest.raises(EngineClosed):
        topic.publish("late")
    theirs.close()


@pytest.mark.parametrize("before_exit", ["", "engine.close()", "del engine", "sys.host = [engine, topic]"])
def test_a_process_that_ends_with_an_engine_in_full_flight_ends_well(before_exit: str) -> None:
    code = f"""
import socket, sys
from fastfan import *
engine = Engine(io_threads=0)
topic = engine.topic("/a")
ends = []
for role in (1, 2, 3):
    ours, theirs = socket.socketpair()
    engine.start(engine.attach(topic, role=role)[0], ours.detach(), b"HEAD", b"left")
    ends.append(theirs)
engine.turn()
topic.publish(bytes(1000000))
engine.turn()
partial = topic.partial()
partial.extend(b"x")
{before_exit}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

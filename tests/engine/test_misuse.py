"""Callers at fault: MisuseError says so, and no call however wrong brings the process down."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastfan import SUBSCRIBER, Cause, Engine, EngineClosed, EngineError, EventKind, MisuseError, Partial, Topic
from tests.support.engine import Rig
from tests.support.frames import frame, frame_bytes


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/of-misuse")


@pytest.mark.parametrize(
    "options",
    [
        {"io_threads": 17},
        {"io_threads": -1},
        {"io_threads": 1 << 40},
        {"max_memory_bytes": (1 << 20) - 1},
        {"max_memory_bytes": 0},
        {"max_memory_bytes": -5},
        {"write_timeout": 0.0},
        {"write_timeout": -1.0},
        {"write_timeout": float("nan")},
        {"close_deadline": 0.0},
        {"close_deadline": -0.1},
        {"close_deadline": float("nan")},
        {"notsent_bytes": -1},
    ],
    ids=str,
)
def test_an_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(MisuseError):
        Engine(**options)  # type: ignore[arg-type]


def test_an_option_that_does_not_exist_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Engine(threads=1)  # type: ignore[call-arg]


def test_the_least_memory_and_the_shortest_deadlines_work(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_memory_bytes=1 << 20, write_timeout=0.001, close_deadline=0.001, notsent_bytes=0)
    peer = rig.connect(rig.engine.topic("/least"))
    rig.engine.topic("/least").publish("works")
    peer.expect(frame("works"))


@pytest.mark.parametrize("role", [0, 4, -1, 255])
def test_a_role_that_does_not_exist_is_refused_and_attaches_nobody(rig: Rig, role: int) -> None:
    topic = rig.engine.topic("/misuse")
    with pytest.raises(MisuseError, match=f"role={role}"):
        rig.engine.attach(topic, role=role)
    assert (topic.clients, topic.subscribers, rig.connections) == (0, 0, 0)


def test_a_topic_of_another_engine_is_refused(rig: Rig, make_rig: Callable[..., Rig]) -> None:
    foreign = make_rig().engine.topic("/foreign")
    with pytest.raises(MisuseError, match="/foreign"):
        rig.engine.attach(foreign, role=SUBSCRIBER)
    assert foreign.clients == 0


def test_no_topic_at_all_is_a_type_error(rig: Rig) -> None:
    with pytest.raises(TypeError):
        rig.engine.attach(None, role=SUBSCRIBER)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_lag_bytes": -1},
        {"max_lag_bytes": 1 << 64},
        {"pace_lag_bytes": -1},
        {"max_lag_messages": -1},
        {"max_lag_age": -1.0},
        {"max_lag_age": float("nan")},
        {"max_lag_age": 1e30},
    ],
    ids=str,
)
def test_a_topic_with_a_bad_bound_is_not_made(rig: Rig, bounds: dict[str, Any]) -> None:
    [(name, value)] = bounds.items()
    with pytest.raises(MisuseError, match=re.escape(f"{name}={value} is not from 0 to ")):
        rig.engine.topic("/misuse", **bounds)
    assert rig.engine.topics_kept() == []


@pytest.mark.parametrize("bad", [-1, -1.0, float("nan"), float("inf"), 1e30], ids=str)
def test_an_argument_out_of_range_is_refused_and_nothing_is_ordered(rig: Rig, topic: Topic, bad: Any) -> None:
    engine, peer = rig.engine, rig.connect(topic)
    reader = topic.reader()
    calls: list[Callable[[], object]] = [
        lambda: engine.beat(bad, 1.0, 1.0),
        lambda: engine.beat(1.0, bad, 1.0),
        lambda: engine.beat(1.0, 1.0, bad),
        lambda: engine.end(peer.token, deadline=bad),
        lambda: engine.sweep_topics(bad, 0),
        lambda: engine.sweep_topics(0.0, bad),
        lambda: engine.wait_at_rest(bad),
        lambda: reader.read(bad),
        lambda: reader.read(max_bytes=bad),
    ]
    if not engine.io_threads:
        calls.append(lambda: engine.turn(bad))
    for call in calls:
        with pytest.raises(MisuseError, match="is not from 0 to "):
            call()
    reader.close()
    rig.watch(0.02, that=lambda: not peer.drain())
    topic.publish("works")
    peer.expect(frame("works"))


CALLS: dict[str, Callable[[Engine, Topic], object]] = {
    "topic": lambda engine, topic: engine.topic("/new"),
    "find_topic": lambda engine, topic: engine.find_topic("/new"),
    "attach": lambda engine, topic: engine.attach(topic, role=SUBSCRIBER),
    "start": lambda engine, topic: engine.start(1 << 32, -1),
    "send": lambda engine, topic: engine.send(1 << 32, b""),
    "resume": lambda engine, topic: engine.resume(1 << 32),
    "end": lambda engine, topic: engine.end(1 << 32),
    "abort": lambda engine, topic: engine.abort(1 << 32),
    "beat": lambda engine, topic: engine.beat(1.0, 1.0, 1.0),
    "want_room": lambda engine, topic: engine.want_room(),
    "turn": lambda engine, topic: engine.turn(),
    "work_fileno": lambda engine, topic: engine.work_fileno(),
    "events_fileno": lambda engine, topic: engine.events_fileno(),
    "sweep_topics": lambda engine, topic: engine.sweep_topics(1.0, 1),
    "topics_kept": lambda engine, topic: engine.topics_kept(),
    "publish": lambda engine, topic: topic.publish(b"late"),
    "publish_many": lambda engine, topic: topic.publish_many([b"late"]),
    "publish_many of nothing": lambda engine, topic: topic.publish_many([]),
    "partial": lambda engine, topic: topic.partial(),
}


@pytest.mark.parametrize("name", CALLS)
def test_after_close_every_call_but_three_raises_engine_closed(make_rig: Callable[..., Rig], name: str) -> None:
    rig = make_rig()
    topic = rig.engine.topic("/closed")
    rig.engine.close()
    with pytest.raises(EngineClosed):
        CALLS[name](rig.engine, topic)


def test_after_close_events_stats_and_close_go_on_working(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.engine.close()
    rig.engine.close()
    assert rig.engine.take_events() == []
    assert rig.engine.stats()["connections"] == 0


def test_a_partial_of_a_closed_engine_refuses_more(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    partial = rig.engine.topic("/closed").partial()
    partial.extend(b"before")
    rig.engine.close()
    with pytest.raises(EngineClosed):
        partial.extend(b"after")
    with pytest.raises(EngineClosed):
        partial.publish()
    assert len(partial) == 6


def test_a_topic_of_a_closed_engine_can_still_be_looked_at(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    topic = rig.engine.topic("/closed")
    rig.connect(topic)
    topic.publish("one")
    rig.engine.close()
    assert (topic.name, topic.next_offset, topic.subscribers, topic.clients, topic.log_bytes) == ("/closed", 2, 0, 0, 0)
    assert "/closed" in repr(topic)
    assert not topic.paced


def test_a_closed_engine_does_not_keep_its_descriptors(make_rig: Callable[..., Rig]) -> None:
    """Not even while something, a Topic or a traceback, still holds the object."""
    before = len(os.listdir("/proc/self/fd"))
    rig = make_rig()
    topic = rig.engine.topic("/closed")
    rig.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert topic.name == "/closed"


def test_every_error_of_the_engine_is_an_engine_error() -> None:
    assert issubclass(MisuseError, EngineError)
    assert issubclass(EngineClosed, MisuseError)


# --- one turn at a time ----------------------------------------------------------------------------------------------


def collide(rig: Rig) -> list[MisuseError]:
    """Two threads turn the engine until each, or one of them, has found the other in it."""
    peer = rig.connect(rig.engine.topic("/busy"))
    errors: list[MisuseError] = []
    patience = time.monotonic() + 20.0

    def turn() -> None:
        while not errors and time.monotonic() < patience:
            for _ in range(500):  # work that takes a while and needs no socket
                rig.engine.resume(peer.token)
            try:
                rig.engine.turn()
            except MisuseError as error:
                errors.append(error)

    thread = threading.Thread(target=turn)
    thread.start()
    turn()
    thread.join()
    return errors


@pytest.mark.hosted
def test_turn_while_another_thread_is_in_it_is_misuse_and_harmless(rig: Rig) -> None:
    assert {str(error) for error in collide(rig)} == {
        "turn() is running in another thread; call it from one thread at a time"
    }
    topic = rig.engine.topic("/after")
    peer = rig.connect(topic)
    topic.publish("works")
    peer.expect(frame("works"))


def test_a_socket_that_is_no_stream_departs_at_once(rig: Rig, topic: Topic) -> None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    token = rig.engine.attach(topic, role=SUBSCRIBER).token
    rig.engine.start(token, datagrams.detach())
    rig.until(lambda: [event.detail for event in rig.of_kind(EventKind.DEPARTED)] == [Cause.RESET])
    assert rig.connections == 0


def test_a_partial_while_another_thread_is_in_it_is_misuse_and_harmless(rig: Rig, topic: Topic) -> None:
    peer, partial, refusals = rig.connect(topic), topic.partial(), []
    extended = [0] * 4

    def extend(number: int, partial: Partial) -> None:
        for _ in range(400):
            try:
                partial.extend(bytes(20_000))
                extended[number] += 1
            except MisuseError as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=extend, args=[number, partial]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("another thread is in this partial" in refusal for refusal in refusals)
    assert len(partial) == sum(extended) * 20_000
    partial.publish()
    assert len(peer.read(frame_bytes(sum(extended) * 20_000))) > 0
    topic.publish("works")
    peer.expect(frame("works"))


# --- never a crash ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        "Partial().extend(b'x')",
        "Partial().publish()",
        "len(Partial())",
        "Topic()",
        "Topic(None, '/x')",
        "Topic(Engine(), '/x').publish(b'x')",
        "t = Topic(Engine(), '/x'); t.core.attach(t, role=2)",
        "e = Engine(); e.__init__(); e.close(); e.__init__()",
        "Engine.__new__(Engine).topic('/x').publish(b'x')",
        "import copy; copy.copy(Engine())",
        "import pickle; pickle.dumps(Engine().topic('/x'))",
        "e = Engine(); e.attach(e.topic('/x'), role=3); e.topic('/x').publish(b'x' * 9999)",
        "e = Engine(); t = e.topic('/x'); p = t.partial(); p.extend(b'x' * 99999); del e, t; p.publish()",
    ],
)
def test_using_what_is_not_to_be_used_is_an_exception_at_most(lines: str) -> None:
    code = f"from fastfan import *\ntry:\n    {lines}\nexcept Exception as error:\n    print(type(error).__name__)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"

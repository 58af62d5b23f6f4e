"""Calls into the engine that come in the middle of another call: from a signal handler, a finalizer, a weak reference's
callback. There is one topic of a name, and a topic with clients is kept, whoever comes between.
"""

import gc
import signal
import socket
import weakref
from collections.abc import Callable

import pytest

from fastfan import SUBSCRIBER, MisuseError, Topic
from tests.support.engine import Rig
from tests.support.frames import frame

NAMES = 3000


def attach(rig: Rig, name: str) -> tuple[str, socket.socket]:
    ours, theirs = socket.socketpair()
    rig.engine.start(rig.engine.attach(rig.engine.topic(name), role=SUBSCRIBER).token, ours.detach())
    theirs.settimeout(10)
    return name, theirs


def check_and_close(rig: Rig, peers: list[tuple[str, socket.socket]]) -> None:
    """All of them are on the topic that goes by its name, and stay there when topics are swept."""
    rig.settle()
    rig.engine.sweep_topics(0, 0)
    for name, peer in peers:
        rig.engine.topic(name).publish(b"to all")
        rig.settle()
        assert peer.recv(100) == frame(b"to all")
        peer.close()
    rig.settle()


class Finalized:
    """In a cycle: the collector comes for it when something is made, which may be a topic."""

    def __init__(self, do: Callable[[], None]) -> None:
        self.itself, self.do = self, do

    def __del__(self) -> None:
        self.do()


def test_a_finalizer_attaches_to_the_topic_that_is_just_being_made(rig: Rig) -> None:
    name, peers = "", []

    def attach_to_it() -> None:
        if name:
            peers.append(attach(rig, name))

    thresholds = gc.get_threshold()
    try:
        # The collector comes with the first object that is made from then on, with the second, and so on.
        for number in range(1, 60):
            gc.disable()
            gc.collect()
            Finalized(attach_to_it)
            gc.set_threshold(number)
            gc.enable()
            name = f"/{number}"
            rig.engine.topic(name)
            name = ""
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
    gc.collect()
    check_and_close(rig, peers)


def test_a_signal_handler_names_the_topic_that_is_just_being_made(rig: Rig) -> None:
    name, named = "", []

    def handle(_number: int, _frame: object) -> None:
        if name:
            named.append(rig.engine.topic(name))

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for number in range(NAMES):
            name = f"/{number}"
            topic = rig.engine.topic(name)
            name = ""
            assert all(other is topic for other in named)
            named.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def sweep_with(rig: Rig, callback: Callable[[], object], others: int = 20) -> None:
    """Sweeps a topic whose end calls that, and others after it."""
    first = rig.engine.topic("/first")
    watch = weakref.ref(first, lambda _: callback())
    for number in range(others):
        rig.engine.topic(f"/{number}")
    del first
    assert rig.engine.sweep_topics(0, 0) <= others + 1
    assert watch() is None


def test_a_callback_attaches_to_topics_that_are_being_swept(rig: Rig) -> None:
    peers: list[tuple[str, socket.socket]] = []
    sweep_with(rig, lambda: peers.extend(attach(rig, f"/{number}") for number in range(20)))
    assert len(peers) == 20
    check_and_close(rig, peers)


def test_a_callback_sweeps_while_topics_are_being_swept(rig: Rig) -> None:
    sweep_with(rig, lambda: rig.engine.sweep_topics(0, 0))
    assert rig.engine.topics_kept() == [] and rig.engine.stats()["topics"] == 0


def test_a_callback_brings_back_the_name_that_has_just_ended(rig: Rig) -> None:
    back: list[Topic] = []
    sweep_with(rig, lambda: back.append(rig.engine.topic("/first")))
    assert rig.engine.topic("/first") is back[0]
    assert rig.engine.stats()["topics"] == 1


def test_a_topic_is_made_by_its_engine_only(rig: Rig) -> None:
    makes: list[Callable[[], object]] = [
        Topic,
        lambda: Topic(rig.engine, "/a"),  # type: ignore[call-arg]
        lambda: Topic.__new__(Topic, rig.engine, "/a", object()),  # type: ignore[call-arg]
    ]
    for make in makes:
        with pytest.raises(MisuseError, match=r"engine's topic\(\)"):
            make()

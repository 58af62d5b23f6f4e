"""Several loops: what one of them waits for may happen on another, which tells it at once, not at its next tick."""

import statistics
import time
from collections.abc import Callable

import pytest

from fastfan import PUBLISHER, EventKind
from tests.support.engine import Rig
from tests.support.frames import frame

PACE = 100_000
FAR = bytes(300_000)
ROUNDS = 20


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """With deadlines that make for a tick every quarter of a second."""
    return make_rig(io_threads=2)


def test_room_is_not_told_again_and_again_while_another_loop_has_the_slow_one(rig: Rig) -> None:
    topic = rig.engine.topic("/paced", pace_lag_bytes=PACE)
    rig.connect_slow(topic)
    topic.publish(FAR)
    rig.until(lambda: topic.paced)
    rig.events.clear()
    asked, ends = 0, time.monotonic() + 0.5
    # A topic is paced for a slow one only as long as that one may yet move: less than this loop, on a stopped machine.
    while topic.paced and time.monotonic() < ends:
        if len(rig.of_kind(EventKind.ROOM)) == asked:
            rig.engine.want_room()
            asked += 1
        rig.turn_if_ready(0.001)
    assert asked < 10


def test_a_publisher_goes_on_as_soon_as_the_slow_one_of_another_loop_has_caught_up(rig: Rig) -> None:
    topic = rig.engine.topic("/paced", pace_lag_bytes=PACE)
    slow, publisher = rig.connect_slow(topic), rig.connect(topic, PUBLISHER)
    waited = []

    def moves_and_paces() -> bool:
        # One that has not moved for a second paces nobody.
        slow.drain(1000)
        return topic.paced

    for number in range(1, ROUNDS + 1):
        topic.publish(FAR)
        rig.until(moves_and_paces)
        publisher.send(b"?")
        rig.settle()
        assert len(rig.lent(publisher)) < number
        slow.read(len(frame(FAR)) - 1000)
        began = time.monotonic()
        rig.until(lambda number=number: len(rig.lent(publisher)) == number)  # type: ignore[misc]
        waited.append(time.monotonic() - began)
        rig.engine.resume(publisher.token)
        slow.read(1000)
    assert statistics.median(waited) < 0.05

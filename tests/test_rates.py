"""Rates where Python counts them, with a clock that is told the time."""

from pubsub.rates import Pauses, Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_second_begins_with_the_first_frame_that_falls_into_none() -> None:
    rate = Rate()
    assert [rate.add(1, now) for now in (10.0, 10.5, 10.99, 11.0, 11.9, 12.5)] == [1, 2, 3, 1, 2, 1]


def test_a_loop_that_beats_has_not_stood_still() -> None:
    clock = Clock()
    pauses = Pauses(clock=clock)
    for _ in range(10):
        assert not pauses.just_resumed()
        clock.now += 1.0
        pauses.beat()


def test_what_is_read_before_the_late_beat_is_seen_to_be_late_for_a_second() -> None:
    clock = Clock()
    pauses = Pauses(clock=clock)
    clock.now += 3.0
    assert pauses.just_resumed()
    clock.now += 0.9
    pauses.beat()
    assert pauses.just_resumed()
    clock.now += 0.2
    assert not pauses.just_resumed()

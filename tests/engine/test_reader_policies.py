"""Readers in this process under the other lag policies: they jump as subscribers do, with offsets that show the gap."""

import time
from collections.abc import Callable

import pytest

from fastfan import PUBLISHER, Reader, Topic
from tests.support.engine import Rig
from tests.support.frames import frame

MakeRig = Callable[..., Rig]
UNIT = bytes(1000)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    # A short close_deadline makes the engine look every 5 ms, once it has a connection.
    rig = make_rig(close_deadline=0.04)
    rig.connect(rig.engine.topic("/other"))
    return rig


def offsets(reader: Reader) -> list[int]:
    got: list[int] = []
    while batch := reader.read():
        got += [offset for offset, _ in batch]
    return got


def counts(topic: Topic) -> tuple[int, int]:
    return topic.skipped_messages, topic.skips


# --- skip -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [{"max_lag_messages": 5}, {"max_lag_bytes": 5 * len(frame(UNIT))}])
def test_skip_moves_it_to_the_oldest_message_within_the_bound(rig: Rig, bounds: dict[str, int]) -> None:
    topic = rig.engine.topic("/skip", policy="skip", **bounds)
    with topic.reader() as slow, topic.reader() as fast:
        for _ in range(100):
            topic.publish(UNIT)
            fast.read()
        rig.until(lambda: slow.offset == 96)  # by the next tick at the latest
        assert offsets(slow) == [96, 97, 98, 99, 100]
        assert counts(topic) == (95, 1)
        assert topic.log_bytes == 0
        assert (rig.engine.stats()["skipped_messages"], rig.engine.stats()["skips"]) == (95, 1)


def test_skip_leaves_the_newest_message_where_all_is_too_old(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_age=0.05)
    with topic.reader() as reader:
        topic.publish_many([b"1", b"2", b"3"])
        rig.watch(0.1)
        assert reader.read() == [(3, b"3")]
        assert counts(topic) == (2, 1)


def test_gaps_that_nothing_was_read_between_are_one(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_messages=1)
    with topic.reader() as reader:
        for gap in range(1, 4):
            for _ in range(20):
                topic.publish(UNIT)
            rig.until(lambda gap=gap: reader.offset == 20 * gap)  # type: ignore[misc]
            assert offsets(reader) == [20 * gap]
        assert counts(topic) == (57, 3)


# --- latest -----------------------------------------------------------------------------------------------------------


def test_latest_gives_it_the_newest_where_it_had_something_to_read_already(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest")
    with topic.reader() as reader:
        for number in range(1, 51):
            topic.publish(b"%d" % number)
        assert reader.read() == [(50, b"50")]
        assert counts(topic) == (49, 1)


def test_latest_leaves_out_nothing_of_a_batch_for_one_that_had_everything(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest")
    with topic.reader() as reader:
        for number in range(5):
            topic.publish_many([b"1", b"2", b"3"])
            assert offsets(reader) == [3 * number + 1, 3 * number + 2, 3 * number + 3]
        assert counts(topic) == (0, 0)


def test_latest_holds_no_old_log_for_it(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest", max_lag_bytes=1, max_lag_messages=1, max_lag_age=0.01)
    with topic.reader() as reader:
        for number in range(100):
            topic.publish(b"%d " % number + bytes(300_000))
            assert topic.log_bytes < 700_000
        rig.watch(0.03)
        assert [offset for offset, _ in reader.read()] == [100]
    assert rig.memory_bytes == 0


def test_who_waits_for_it_is_still_told(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest")
    with topic.reader() as reader:
        topic.publish(b"1")
        topic.publish(b"2")
        assert reader.wait(5)
        assert reader.read() == [(2, b"2")]
        assert not reader.wait(0)
        topic.publish(b"3")
        assert reader.wait(5)


# --- block ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [{"max_lag_bytes": 10_000}, {"max_lag_messages": 5}])
def test_under_block_publishers_wait_for_one_of_many_and_it_does_not_end(rig: Rig, bounds: dict[str, int]) -> None:
    topic = rig.engine.topic("/block", policy="block", **bounds)
    readers = [topic.reader() for _ in range(9)]
    publisher = rig.connect(topic, PUBLISHER)
    for _ in range(20):
        topic.publish(UNIT)
        for reader in readers[1:]:
            reader.read()
    rig.until(lambda: topic.paced)
    publisher.send(b"?")
    rig.settle()
    assert rig.lent(publisher) == b""
    assert offsets(readers[0]) == list(range(1, 21))
    rig.until(lambda: rig.lent(publisher) == b"?")
    assert not topic.paced
    assert counts(topic) == (0, 0)
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("ends", ["closes", "stops"])
def test_under_block_one_that_goes_or_stops_reading_holds_up_nobody_for_long(rig: Rig, ends: str) -> None:
    topic = rig.engine.topic("/block", policy="block", max_lag_messages=5)
    reader, publisher = topic.reader(), rig.connect(topic, PUBLISHER)
    for _ in range(20):
        topic.publish(UNIT)
    rig.until(lambda: topic.paced)
    publisher.send(b"?")
    began = time.monotonic()
    if ends == "closes":
        reader.close()
    rig.until(lambda: rig.lent(publisher) == b"?", 5.0)
    assert time.monotonic() - began < 4
    reader.close()


# --- pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.hosted
@pytest.mark.parametrize("policy", ["disconnect", "skip"])
def test_messages_do_not_age_while_the_engine_stands_still(rig: Rig, policy: str) -> None:
    topic = rig.engine.topic("/aged", policy=policy, max_lag_age=0.5)
    with topic.reader() as reader:
        topic.publish(UNIT)
        topic.publish(UNIT)
        rig.settle()
        time.sleep(1.2)  # nobody turns the engine: so it looks when a process was stopped
        rig.settle()
        assert offsets(reader) == [1, 2]
        assert counts(topic) == (0, 0)

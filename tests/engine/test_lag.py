"""Stalled and too far behind: who is condemned, at which byte, message and second, and who is not."""

import time
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, Cause, EventKind, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import CLOSE, frame, frame_bytes
from tests.support.sockets import unix_pair

TOO_SLOW = frame(b"\x03\xf5too slow", CLOSE)
MakeRig = Callable[..., Rig]
# close_deadline and write_timeout set how often the engine looks: an eighth of the shorter one, at least 5 ms.
OFTEN = {"close_deadline": 0.04, "write_timeout": 30.0}


def behind_by(rig: Rig, topic: Topic, lag: int, largest: int = 30_000) -> Peer:
    """A subscriber in mid-frame with exactly that many bytes owed."""
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    left = lag - (frame_bytes(20_000) - peer.taken)
    while left:
        step = min(left, largest)
        if 0 < left - step < 300:
            step -= 300
        payload_bytes = step - (2 if step <= 127 else 4)
        assert frame_bytes(payload_bytes) == step
        topic.publish(bytes(payload_bytes))
        left -= step
    return peer


# --- stalled ---------------------------------------------------------------------------------------------------------


def test_one_that_takes_no_byte_for_write_timeout_is_stalled(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.2)
    topic = rig.engine.topic("/lag")
    began = time.monotonic()
    peer = rig.connect_in_mid_frame(topic, bytes(50_000))
    assert rig.until_condemned(peer) == Cause.STALLED
    assert time.monotonic() - began >= 0.15


def test_one_that_takes_a_little_now_and_then_is_not_stalled(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.3)
    topic = rig.engine.topic("/lag")
    peer = rig.connect_in_mid_frame(topic, bytes(500_000))

    def reads_a_little() -> bool:
        peer.drain(4096)
        return rig.condemned(peer) is None

    rig.watch(0.8, that=reads_a_little)


def test_one_that_is_owed_nothing_is_never_stalled(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.05)
    topic = rig.engine.topic("/lag")
    peer = rig.connect_slow(topic)
    topic.publish(b"taken by the kernel, never read")
    rig.watch(0.3, that=lambda: rig.condemned(peer) is None)


def test_a_control_frame_that_nobody_takes_is_a_stall_too(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.05)
    peer = rig.connect_slow(rig.engine.topic("/lag"))
    rig.engine.send(peer.token, b"\x8a\x00" * 10_000)
    assert rig.until_condemned(peer) == Cause.STALLED


def test_a_stalled_one_frees_the_log_but_its_frame_and_is_told_at_the_boundary(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.1)
    topic = rig.engine.topic("/lag")
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    topic.publish_many([bytes(100_000)] * 20)
    assert rig.until_condemned(peer) == Cause.STALLED
    assert topic.log_bytes == 0
    assert 20_000 < rig.memory_bytes <= 65_536
    rig.engine.end(peer.token, TOO_SLOW)
    peer.expect(frame(bytes(20_000)), TOO_SLOW)
    peer.close()
    assert rig.until_departed(peer) == (Cause.STALLED, 1)


def test_a_stalled_one_that_stays_stuck_is_reset_at_the_close_deadline(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.1, close_deadline=0.1)
    topic = rig.engine.topic("/lag")
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    assert rig.until_condemned(peer) == Cause.STALLED
    rig.engine.end(peer.token, TOO_SLOW)
    assert rig.until_departed(peer) == (Cause.STALLED, 0)
    assert rig.memory_bytes == 0


def test_a_condemned_one_that_nobody_ends_is_reset_at_the_close_deadline(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.1, close_deadline=0.1)
    peer = rig.connect_in_mid_frame(rig.engine.topic("/lag"), bytes(20_000))
    assert rig.until_departed(peer) == (Cause.STALLED, 0)
    assert [event.kind for event in rig.events] == [EventKind.CONDEMNED, EventKind.DEPARTED]


def test_a_condemned_one_gets_nothing_more_and_sends_nothing_more(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.05)
    topic = rig.engine.topic("/lag")
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    rig.until_condemned(peer)
    rig.engine.send(peer.token, b"\x8a\x00")
    topic.publish("not for you")
    peer.expect(frame(bytes(20_000)))


@pytest.mark.hosted
def test_time_in_which_nobody_turned_the_engine_makes_nobody_stalled(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.4)
    topic = rig.engine.topic("/lag")
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    pause(0.9)
    rig.settle()
    assert rig.condemned(peer) is None
    peer.expect(frame(bytes(20_000)))


def pause(seconds: float) -> None:
    """What a stopped process does."""
    time.sleep(seconds)


# --- too far behind --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("bound", [20_000, 123_457])
def test_lag_equal_to_max_lag_bytes_is_fine_and_one_byte_more_is_not(make_rig: MakeRig, bound: int, over: int) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_bytes=bound)
    peer = behind_by(rig, topic, bound + over)
    if over:
        assert rig.until_condemned(peer) == Cause.TOO_FAR_BEHIND
        assert topic.log_bytes == 0
    else:
        rig.watch(0.1, that=lambda: rig.condemned(peer) is None)
        topic.publish(b"")
        assert rig.until_condemned(peer) == Cause.TOO_FAR_BEHIND


@pytest.mark.parametrize("over", [0, 1])
def test_lag_equal_to_max_lag_messages_is_fine_and_one_more_is_not(make_rig: MakeRig, over: int) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_messages=500)
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))  # itself one of those it lags
    for size in range(499 + over):
        topic.publish(bytes(size))
    if over:
        assert rig.until_condemned(peer) == Cause.TOO_FAR_BEHIND
    else:
        rig.watch(0.1, that=lambda: rig.condemned(peer) is None)


def test_lag_in_messages_is_counted_over_segments(make_rig: MakeRig) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_messages=4)
    peer = rig.connect_in_mid_frame(topic, bytes(300_000))
    for _ in range(3):
        topic.publish(bytes(300_000))
    rig.watch(0.1, that=lambda: rig.condemned(peer) is None)
    topic.publish(b"")
    assert rig.until_condemned(peer) == Cause.TOO_FAR_BEHIND


def test_what_is_older_than_max_lag_age_condemns(make_rig: MakeRig) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_age=0.3)
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    began = time.monotonic()
    assert rig.until_condemned(peer) == Cause.TOO_FAR_BEHIND
    assert time.monotonic() - began >= 0.25


def test_age_counts_for_a_message_that_begins_a_segment(make_rig: MakeRig) -> None:
    """The kernel took exactly the first message, and the second, in the next segment, waits."""
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_age=0.2)
    peer = rig.connect(topic, pair=unix_pair(send_buffer=0))
    taken = kernel_takes()
    topic.publish(bytes(taken - 4))
    topic.publish(bytes(300_000))  # too large for the rest of any shared segment
    rig.settle()
    assert rig.sent_bytes == taken
    assert rig.until_condemned(peer) == Cause.TOO_FAR_BEHIND


def kernel_takes() -> int:
    ours, theirs = unix_pair(send_buffer=0)
    ours.setblocking(False)
    with ours, theirs:
        return ours.send(bytes(1 << 20))


def test_one_that_has_everything_is_not_behind_however_old_the_log(make_rig: MakeRig) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_age=0.05, max_lag_messages=1, max_lag_bytes=100)
    peer = rig.connect(topic)
    for _ in range(3):
        topic.publish(b"now")
        peer.expect(frame(b"now"))
        rig.watch(0.1, that=lambda: rig.condemned(peer) is None)


def test_only_the_slow_one_is_condemned_and_the_others_get_everything(make_rig: MakeRig) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_bytes=100_000)
    fast, slow = [rig.connect(topic) for _ in range(5)], rig.connect_slow(topic, DUPLEX)
    for number in range(100):
        topic.publish(bytes([number]) * 3000)
        for peer in fast:
            peer.expect(frame(bytes([number]) * 3000))
    assert rig.until_condemned(slow) == Cause.TOO_FAR_BEHIND
    assert all(rig.condemned(peer) is None for peer in fast)
    assert topic.log_bytes == 0


@pytest.mark.hosted
def test_many_are_condemned_at_once(make_rig: MakeRig) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_bytes=100_000)
    peers = [rig.connect_slow(topic) for _ in range(30)]
    topic.publish(bytes(10_000))
    rig.settle()
    topic.publish(bytes(100_000))
    for peer in peers:
        assert rig.until_condemned(peer) == Cause.TOO_FAR_BEHIND
    for peer in peers:
        rig.engine.end(peer.token, TOO_SLOW, deadline=30.0)
    for peer in peers:
        peer.expect(frame(bytes(10_000)), TOO_SLOW)
    assert rig.memory_bytes == 0


@pytest.mark.hosted
def test_the_bound_is_passed_in_the_very_round_in_which_the_clock_ticks(make_rig: MakeRig) -> None:
    """Two rules find the same one guilty in one round."""
    rig = make_rig(close_deadline=0.04)
    topic = rig.engine.topic("/lag", max_lag_bytes=100_000)
    peers = [rig.connect_in_mid_frame(topic, bytes(20_000)) for _ in range(2)]
    pause(0.02)  # the next turn finds the tick and the new message together
    topic.publish(bytes(200_000))
    rig.turn()
    assert [rig.condemned(peer) for peer in peers] == [Cause.TOO_FAR_BEHIND] * 2


@pytest.mark.hosted
def test_one_that_ends_in_the_round_that_finds_it_guilty_departs_with_its_own_cause(make_rig: MakeRig) -> None:
    rig = make_rig()
    topic = rig.engine.topic("/lag", max_lag_bytes=100_000)
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    topic.publish(bytes(200_000))
    peer.drain()  # so that the next turn first finds the socket writable, and looks at the lag,
    rig.engine.end(peer.token, TOO_SLOW)  # and then finds this
    rig.until(lambda: peer.drain() == 0 and len(peer.got) == 20_004 + len(TOO_SLOW))
    peer.close()
    assert (rig.until_departed(peer), rig.condemned(peer)) == ((Cause.CLOSED, 1), None)


def test_a_message_published_to_a_joining_one_counts_for_it_from_start_on(make_rig: MakeRig) -> None:
    rig = make_rig(**OFTEN)
    topic = rig.engine.topic("/lag", max_lag_bytes=100_000)
    peer, fd = rig.attach(topic)
    topic.publish(bytes(300_000))
    rig.watch(0.05, that=lambda: rig.condemned(peer) is None)
    rig.engine.start(peer.token, fd)
    peer.expect(frame(bytes(300_000)))

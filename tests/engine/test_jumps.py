"""Jumps: the frame that was begun is finished first; what that costs of the log; where control frames and Closes go."""

from collections.abc import Callable

import pytest

from fastfan import DUPLEX, Cause, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import CLOSE, PONG, frame, parse
from tests.support.sockets import unix_pair

MakeRig = Callable[..., Rig]
BEGUN = bytes(20_000)
BYE = frame(b"\x03\xe8bye", CLOSE)
PONGS = [frame(b"%d" % number, PONG) for number in range(9)]


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    # A short close_deadline makes the engine look every 5 ms.
    return make_rig(close_deadline=0.04, write_timeout=30.0)


@pytest.fixture(params=["skip", "latest"])
def topic(rig: Rig, request: pytest.FixtureRequest) -> Topic:
    """One whose slow subscribers jump to the newest message, by either policy."""
    return rig.engine.topic("/jumps", policy=request.param, max_lag_messages=1)


def jumping(rig: Rig, topic: Topic, *newer: bytes) -> Peer:
    """A subscriber in the middle of BEGUN that jumped to the last of `newer`, or of three messages."""
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    messages = newer or (b"1", b"2", b"3")
    topic.publish_many(messages)
    rig.until(lambda: topic.skipped_messages == len(messages) - 1)
    return peer


def test_the_frame_that_was_begun_is_finished_and_the_next_one_is_the_target(rig: Rig, topic: Topic) -> None:
    peer = jumping(rig, topic)
    peer.expect(frame(BEGUN), frame(b"3"))
    assert (topic.skipped_messages, topic.skips) == (2, 1)


def test_what_comes_after_a_jump_comes_without_a_gap(rig: Rig, topic: Topic) -> None:
    peer = jumping(rig, topic)
    peer.expect(frame(BEGUN), frame(b"3"))
    for number in range(5):
        topic.publish(b"%d" % number)
        peer.expect(frame(b"%d" % number))
    assert topic.skips == 1


def test_of_the_log_a_jump_keeps_the_segment_of_the_frame_and_what_lies_behind_the_target(
    rig: Rig, topic: Topic
) -> None:
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    begun_bytes = rig.memory_bytes
    topic.publish_many([bytes(300_000)] * 20 + [b"newest"])
    rig.until(lambda: topic.skips)
    rig.settle()
    assert topic.log_bytes <= 4096
    assert rig.memory_bytes <= begun_bytes + (256 << 10)  # of whatever size the newest one's segment is
    peer.expect(frame(BEGUN), frame(b"newest"))
    assert rig.memory_bytes == 0


def test_a_jump_may_go_over_many_segments(rig: Rig, topic: Topic) -> None:
    messages = [
        bytes([number]) * size for number, size in enumerate([300_000, 5, 100_000, 70_000, 0, 300_001, 3900] * 5)
    ]
    peer = jumping(rig, topic, *messages)
    peer.expect(frame(BEGUN), frame(messages[-1]))


@pytest.mark.parametrize("newest", [b"", b"x" * 125, b"x" * 4096, bytes(300_000)])
def test_the_target_may_be_of_any_size(rig: Rig, topic: Topic, newest: bytes) -> None:
    peer = jumping(rig, topic, b"1", newest)
    peer.expect(frame(BEGUN), frame(newest))


def test_a_cursor_at_a_boundary_jumps_with_nothing_to_finish(rig: Rig, topic: Topic) -> None:
    """What fills the socket here is a control frame."""
    peer = rig.connect_slow(topic)
    rig.engine.send(peer.token, PONGS[0] * 10_000)
    rig.settle()
    topic.publish_many([b"1", b"2", b"3"])
    rig.until(lambda: topic.skipped_messages == 2)
    peer.expect(PONGS[0] * 10_000, frame(b"3"))


def test_control_frames_from_before_the_jump_wait_for_the_end_of_the_frame(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    rig.engine.send(peer.token, PONGS[0])
    rig.settle()
    topic.publish_many([b"1", b"2", b"3"])
    rig.until(lambda: topic.skips)
    peer.expect(frame(BEGUN), PONGS[0], frame(b"3"))


def test_control_frames_from_after_the_jump_do_so_too(rig: Rig, topic: Topic) -> None:
    peer = jumping(rig, topic)
    rig.engine.send(peer.token, PONGS[0])
    rig.engine.send(peer.token, PONGS[1])
    peer.expect(frame(BEGUN), *PONGS[:2], frame(b"3"))


def test_control_frames_wait_there_while_jumps_go_on(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    for number in range(9):
        rig.engine.send(peer.token, PONGS[number])
        topic.publish_many([b"%d" % number, b"%d!" % number])
        rig.until(lambda number=number: topic.skipped_messages == 2 * number + 1)  # type: ignore[misc]
    peer.expect(frame(BEGUN), *PONGS, frame(b"8!"))
    assert topic.skips == 1


def test_several_jumps_without_a_byte_taken_are_one_gap(rig: Rig, topic: Topic) -> None:
    peer = jumping(rig, topic)
    for number in range(1, 30):
        topic.publish(b"%d" % number)
        rig.until(lambda number=number: topic.skipped_messages == 2 + number)  # type: ignore[misc]
    peer.expect(frame(BEGUN), frame(b"29"))
    assert topic.skips == 1


def test_every_gap_counts(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_slow(topic)
    for number in range(1, 6):
        topic.publish(BEGUN)
        rig.settle()
        topic.publish_many([b"lost", b"kept"])
        rig.until(lambda number=number: topic.skips == number)  # type: ignore[misc]
        peer.expect(frame(BEGUN), frame(b"kept"))
    assert topic.skipped_messages == 5


def test_a_jump_that_ends_in_the_middle_of_the_target_can_be_followed_by_another(rig: Rig, topic: Topic) -> None:
    peer = jumping(rig, topic, b"1", b"2" * 50_000)
    rig.until(lambda: peer.drain(4096) + len(peer.got) > 30_000)
    topic.publish_many([b"3", b"4"])
    rig.until(lambda: topic.skips == 2)
    peer.expect(frame(BEGUN), frame(b"2" * 50_000), frame(b"4"))
    assert topic.skipped_messages == 2


def test_after_a_jump_the_log_is_given_back_as_ever(rig: Rig, topic: Topic) -> None:
    peers = [jumping(rig, topic)]
    peers[0].expect(frame(BEGUN), frame(b"3"))
    assert (rig.memory_bytes, topic.log_bytes) == (0, 0)
    fast = rig.connect(topic)
    topic.publish(b"to both")
    fast.expect(frame(b"to both"))
    peers[0].expect(frame(b"to both"))
    assert rig.memory_bytes == 0


# --- closing during a jump --------------------------------------------------------------------------------------------


def test_a_close_goes_behind_the_frame_that_was_begun(rig: Rig, topic: Topic) -> None:
    peer = jumping(rig, topic)
    rig.engine.send(peer.token, PONGS[0])
    rig.engine.end(peer.token, BYE, deadline=30.0)
    rig.settle()
    assert topic.log_bytes == 0
    peer.expect(frame(BEGUN), PONGS[0], BYE)


def test_a_close_after_the_log_goes_behind_what_is_still_due(rig: Rig, topic: Topic) -> None:
    peer = jumping(rig, topic)
    rig.engine.end(peer.token, BYE, after_log=True, deadline=30.0)
    rig.settle()
    topic.publish(b"too late")
    peer.expect(frame(BEGUN), frame(b"3"), BYE)


def test_a_peer_that_goes_during_a_jump_leaves_nothing_behind(rig: Rig, topic: Topic) -> None:
    peers = [jumping(rig, topic)]
    peers += [rig.connect_slow(topic) for _ in range(3)]
    peers[0].close()
    rig.engine.abort(peers[1].token)
    for peer in peers[:2]:
        rig.until_departed(peer)
    for peer in peers[2:]:
        peer.drain()
    rig.settle()
    assert rig.memory_bytes == 0
    assert topic.subscribers == 2


def test_an_engine_that_is_closed_during_a_jump_gives_all_memory_back(rig: Rig, topic: Topic) -> None:
    jumping(rig, topic)
    rig.engine.close()
    assert rig.memory_bytes == 0


def test_one_that_takes_nothing_of_the_frame_it_has_begun_is_stalled(make_rig: MakeRig, topic: Topic) -> None:
    rig = make_rig(write_timeout=0.2, close_deadline=0.1)
    other = rig.engine.topic("/stalled", policy=topic.policy, max_lag_messages=1)
    peer = jumping(rig, other)
    assert rig.until_condemned(peer) == Cause.STALLED
    assert other.log_bytes == 0
    assert rig.until_departed(peer) == (Cause.STALLED, 0)
    assert rig.memory_bytes == 0


def test_a_stalled_one_gets_the_rest_of_its_frame_and_the_close(make_rig: MakeRig, topic: Topic) -> None:
    rig = make_rig(write_timeout=0.1)
    other = rig.engine.topic("/stalled", policy=topic.policy, max_lag_messages=1)
    peer = jumping(rig, other)
    assert rig.until_condemned(peer) == Cause.STALLED
    rig.engine.end(peer.token, BYE)
    peer.expect(frame(BEGUN), BYE)


# --- others -----------------------------------------------------------------------------------------------------------


def test_who_keeps_up_gets_everything_while_others_jump_join_and_leave(rig: Rig, topic: Topic) -> None:
    fast = [rig.connect(topic, role) for role in (1 | 2, 2, 2)]
    slow: list[Peer] = []
    for number in range(60):
        payload = b"%d " % number + bytes(9000)
        topic.publish(payload)
        for peer in fast:
            peer.expect(frame(payload))
        if number % 5 == 0:
            slow.append(rig.connect_slow(topic, DUPLEX))
        if number % 7 == 6:
            slow.pop(0).close()
        if number % 3 == 2:
            slow[-1].drain(20_000)
    for peer in slow:
        rig.until(lambda peer=peer: peer.drain() == 0 and peer.got.endswith(frame(payload)))  # type: ignore[misc]
        numbers = [int(data.split()[0]) for _, data in parse(peer.got)[0]]
        assert numbers == sorted(set(numbers)) and numbers[-1] == 59
    assert topic.skips > 0
    assert rig.memory_bytes == 0


def test_what_is_skipped_counts_for_the_engine_beyond_the_end_of_its_topic(rig: Rig, topic: Topic) -> None:
    jumping(rig, topic).close()
    other = rig.engine.topic("/other", policy=topic.policy, max_lag_messages=1)
    jumping(rig, other)
    stats = rig.engine.stats()
    assert (stats["skipped_messages"], stats["skips"]) == (4, 2)
    assert (other.skipped_messages, other.skips) == (2, 1)


def test_jumps_are_for_tcp_as_for_unix_sockets(rig: Rig, topic: Topic, new_pair: Callable[..., object]) -> None:
    peer = rig.connect(topic, pair=new_pair(send_buffer=0))  # type: ignore[arg-type]
    messages = [b"%d " % number + bytes(50_000) for number in range(100)]
    for message in messages:
        topic.publish(message)
        rig.settle()
    rig.until(lambda: topic.skips)
    rig.until(lambda: peer.drain() == 0 and peer.got.endswith(frame(messages[-1])))
    got, rest = parse(peer.got)
    numbers = [int(data.split()[0]) for _, data in got]
    assert rest == b"" and numbers == sorted(set(numbers))
    assert len(numbers) + topic.skipped_messages == 100


def test_a_socket_that_is_never_full_jumps_never(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, pair=unix_pair(send_buffer=1 << 20))
    messages = [bytes(1000)] * 50
    topic.publish_many(messages)
    peer.expect(*map(frame, messages))
    assert (topic.skipped_messages, topic.skips) == (0, 0)

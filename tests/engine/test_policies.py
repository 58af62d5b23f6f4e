"""Lag policies: who jumps, from when on and where to; who is waited for; and that neither is closed for it."""

import socket
import time
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, Cause, MisuseError
from tests.support.engine import Peer, Rig
from tests.support.frames import BINARY, CLOSE, PING, PONG, frame, parse
from tests.support.rawclient import frame as client_frame
from tests.support.sockets import tcp_pair, unix_pair

MakeRig = Callable[..., Rig]
BEGUN = bytes(20_000)
UNIT = bytes(1000)
UNIT_FRAME = len(frame(UNIT))


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    # A short close_deadline makes the engine look every 5 ms.
    return make_rig(close_deadline=0.04, write_timeout=30.0)


def never_condemned(rig: Rig, *peers: Peer) -> Callable[[], bool]:
    return lambda: all(rig.condemned(peer) is None for peer in peers)


# --- which policy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["disconnect", "skip", "latest", "block"])
def test_a_topic_tells_its_policy(rig: Rig, policy: str) -> None:
    assert rig.engine.topic("/a", policy=policy).policy == policy


def test_without_a_word_it_is_disconnect_and_the_first_mention_decides(rig: Rig) -> None:
    topic = rig.engine.topic("/a")
    assert topic.policy == "disconnect"
    assert rig.engine.topic("/a", policy="latest") is topic
    assert topic.policy == "disconnect"


@pytest.mark.parametrize("policy", ["", "drop", "Latest", "skip "])
def test_another_policy_is_refused_with_value_and_cure(rig: Rig, policy: str) -> None:
    with pytest.raises(MisuseError, match=f"policy={policy!r} is unknown; give disconnect, skip, latest or block"):
        rig.engine.topic("/a", policy=policy)
    assert rig.engine.topics_kept() == []


@pytest.mark.parametrize(
    ("policy", "bytes_unsent"), [("disconnect", 65536), ("block", 65536), ("skip", 16384), ("latest", 16384)]
)
def test_the_kernel_holds_less_unsent_where_old_messages_are_of_little_use(
    rig: Rig, policy: str, bytes_unsent: int
) -> None:
    pair = tcp_pair()
    ours = pair[0].dup()
    rig.connect(rig.engine.topic("/a", policy=policy), pair=pair)
    with ours:
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == bytes_unsent


# --- skip -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bound", [2 * UNIT_FRAME, 3 * UNIT_FRAME - 1, 3 * UNIT_FRAME, 3 * UNIT_FRAME + 1, 40 * UNIT_FRAME]
)
def test_skip_goes_on_with_the_oldest_message_within_max_lag_bytes(rig: Rig, bound: int) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_bytes=bound)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    messages = [bytes([number]) * len(UNIT) for number in range(100)]
    topic.publish_many(messages)
    kept = bound // UNIT_FRAME
    rig.until(lambda: topic.skipped_messages == 100 - kept)
    peer.expect(frame(BEGUN), *map(frame, messages[-kept:]))
    assert topic.skips == 1


@pytest.mark.parametrize("bound", [1, 2, 7, 99, 100])
@pytest.mark.parametrize("size", [1, 100, 5000, 70_000, 300_000])
def test_skip_goes_on_with_the_oldest_within_max_lag_messages(rig: Rig, bound: int, size: int) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_messages=bound)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    messages = [bytes([number]) * size for number in range(100)]
    topic.publish_many(messages)
    rig.until(lambda: topic.skipped_messages == 100 - bound)
    peer.expect(frame(BEGUN), *map(frame, messages[-bound:]))
    assert topic.skips == (bound < 100)


def test_skip_goes_on_with_what_is_young_enough(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_age=1.0)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    old = [b"old" * 2000 for _ in range(20)]
    began = time.monotonic()
    topic.publish_many(old)
    pause(0.5)
    young = [b"young%d" % number + bytes(6000) for number in range(20)]
    topic.publish_many(young)
    rig.until(lambda: topic.skipped_messages >= 20)
    assert time.monotonic() - began >= 1.0
    peer.expect(frame(BEGUN), *map(frame, young))
    assert (topic.skipped_messages, topic.skips) == (20, 1)


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_the_age_of_small_messages_is_known_as_well(rig: Rig, size: int) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_age=1.0)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([bytes(size)] * 20)
    pause(0.5)
    young = [bytes([number]) * size for number in range(20)]
    topic.publish_many(young)
    rig.until(lambda: topic.skipped_messages >= 20)
    peer.expect(frame(BEGUN), *map(frame, young))
    assert (topic.skipped_messages, topic.skips) == (20, 1)


def test_where_all_is_too_old_the_newest_is_left(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_age=0.05)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([b"1", b"2", b"3"])
    rig.until(lambda: topic.skipped_messages == 2)
    rig.watch(0.2, that=lambda: topic.skipped_messages == 2)
    peer.expect(frame(BEGUN), frame(b"3"))


def test_the_newest_message_is_never_skipped_however_large(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_bytes=1000)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([b"1", bytes(50_000)])
    rig.until(lambda: topic.skipped_messages == 1)
    rig.watch(0.05, that=lambda: topic.skipped_messages == 1)
    peer.expect(frame(BEGUN), frame(bytes(50_000)))


def test_of_several_bounds_the_nearest_counts(rig: Rig) -> None:
    for number, bounds in enumerate([{"max_lag_bytes": 5 * UNIT_FRAME}, {"max_lag_messages": 5}, {"max_lag_bytes": 1}]):
        kept = 1 if bounds == {"max_lag_bytes": 1} else 5
        topic = rig.engine.topic(f"/{number}", policy="skip", **{"max_lag_messages": 9, **bounds})
        peer = rig.connect_in_mid_frame(topic, BEGUN)
        topic.publish_many([UNIT] * 50)
        rig.until(lambda topic=topic, kept=kept: topic.skipped_messages == 50 - kept)  # type: ignore[misc]
        peer.expect(frame(BEGUN), *[frame(UNIT)] * kept)


def test_skip_begins_where_disconnect_would_close_and_closes_nobody(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_messages=5)
    peer = rig.connect_in_mid_frame(topic, BEGUN)  # itself one of those it lags
    topic.publish_many([b"1", b"2", b"3", b"4"])
    rig.watch(0.05, that=lambda: topic.skips == 0)
    topic.publish(b"5")
    rig.watch(0.05, that=never_condemned(rig, peer))
    # The frame it has begun is over the bound, and finished all the same: five are left beside it.
    assert topic.skips == 0
    topic.publish(b"6")
    rig.until(lambda: topic.skipped_messages == 1)
    peer.expect(frame(BEGUN), *(frame(b"%d" % number) for number in range(2, 7)))


def test_one_whose_socket_has_room_is_not_made_to_skip(rig: Rig) -> None:
    """That it was not served yet is the engine's slowness, not its own."""
    topic = rig.engine.topic("/skip", policy="skip", max_lag_messages=1)
    peer = rig.connect(topic, pair=unix_pair(send_buffer=1 << 20))
    topic.publish_many([UNIT] * 100)
    peer.expect(*[frame(UNIT)] * 100)
    assert topic.skips == 0


def test_one_that_joined_late_skips_by_its_own_place(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_messages=2)
    early = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([b"1", b"2"])
    late = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([b"4", b"5", b"6"])
    rig.until(lambda: topic.skipped_messages == 4 + 1)
    early.expect(frame(BEGUN), frame(b"5"), frame(b"6"))
    late.expect(frame(BEGUN), frame(b"5"), frame(b"6"))
    assert topic.skips == 2


def pause(seconds: float) -> None:
    """What a stopped process does."""
    time.sleep(seconds)


# --- latest -----------------------------------------------------------------------------------------------------------


def test_latest_skips_to_the_newest_when_its_socket_takes_data_again(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest")
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    for number in range(50):
        topic.publish(b"%d" % number)
        rig.settle()
    peer.expect(frame(BEGUN), frame(b"49"))
    assert (topic.skipped_messages, topic.skips) == (49, 1)


def test_latest_leaves_out_nothing_when_only_one_message_is_due(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest")
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish(b"1")
    peer.expect(frame(BEGUN), frame(b"1"))
    assert (topic.skipped_messages, topic.skips) == (0, 0)


def test_latest_leaves_out_nothing_for_one_that_keeps_up(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest")
    peer = rig.connect(topic)
    for number in range(50):
        topic.publish_many([b"%d" % number, b"%d!" % number])
        peer.expect(frame(b"%d" % number), frame(b"%d!" % number))
    assert topic.skips == 0


@pytest.mark.hosted
def test_what_is_published_between_the_last_pass_and_the_moment_of_room_counts(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest")
    begun = bytes(7000)
    peer = rig.connect_in_mid_frame(topic, begun)
    assert len(begun) - peer.taken < peer.taken, "the rest, and more, should fit into the socket at once"
    topic.publish(b"1")
    rig.settle()
    peer.drain()  # the socket has room from here on, and the engine does not know it yet
    topic.publish_many([b"2", b"3"])
    peer.expect(frame(begun), frame(b"3"))
    assert topic.skipped_messages == 2


@pytest.mark.hosted
@pytest.mark.parametrize("first", ["ping", "control frame", "close"])
def test_the_newest_comes_first_whatever_makes_it_be_sent(make_rig: MakeRig, first: str) -> None:
    """Not only the fan-out sends: so do a ping that is to be answered, a frame of the shell's, and the end."""
    rig = make_rig(close_deadline=0.04, write_timeout=30.0, lane_bytes=1 << 20)
    topic = rig.engine.topic("/latest", policy="latest")
    begun = bytes(7000)
    peer = rig.connect_in_mid_frame(topic, begun)
    topic.publish(b"1")
    rig.settle()
    peer.drain()  # the socket has room from here on, and the engine does not know it yet
    if first == "ping":
        peer.send(client_frame(b"p", PING))
    topic.publish_many([b"%d" % number for number in range(2, 10)])
    if first == "control frame":
        rig.engine.send(peer.token, frame(b"p", PONG))
    if first == "close":
        rig.engine.end(peer.token, frame(b"", CLOSE), after_log=True, deadline=30.0)
    rig.settle()
    peer.drain()
    frames, rest = parse(peer.take())
    assert rest == b"" and [payload for opcode, payload in frames if opcode == BINARY] == [begun, b"9"]
    assert topic.skipped_messages == 8


def test_latest_needs_no_bound_and_holds_no_old_log(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest", max_lag_bytes=1000, max_lag_messages=1, max_lag_age=0.01)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    for number in range(300):
        topic.publish(b"%d " % number + bytes(100_000))
        rig.settle()
        assert topic.log_bytes <= 2 * 256 * 1024
    assert never_condemned(rig, peer)()
    assert rig.memory_bytes <= 3 * 256 * 1024
    peer.expect(frame(BEGUN), frame(b"299 " + bytes(100_000)))


def test_under_latest_publishers_are_not_paced(rig: Rig) -> None:
    topic = rig.engine.topic("/latest", policy="latest", pace_lag_bytes=1000)
    rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([bytes(300_000)] * 3)
    rig.watch(0.05, that=lambda: not topic.paced)
    assert topic.skips == 1


@pytest.mark.parametrize("policy", ["latest", "skip", "block"])
def test_at_the_memory_limit_the_farthest_is_closed_under_every_policy(make_rig: MakeRig, policy: str) -> None:
    rig = make_rig(max_memory_bytes=1 << 20, close_deadline=0.04)
    topic = rig.engine.topic("/full", policy=policy)
    peer = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([bytes(1_200_000)], strict=False)
    assert rig.until_condemned(peer) == Cause.MEMORY


def test_frames_that_slow_sockets_have_begun_cost_those_their_place_and_nobody_else(make_rig: MakeRig) -> None:
    """Under `latest` the log is empty, and what fills the memory are frames that must be finished."""
    rig = make_rig(max_memory_bytes=8 << 20)
    images, chat = rig.engine.topic("/images", policy="latest"), rig.engine.topic("/chat", policy="block")
    others = [rig.connect_in_mid_frame(chat, BEGUN) for _ in range(5)]
    slow: list[Peer] = []
    while not any(rig.condemned(peer) for peer in slow):
        assert len(slow) < 20
        slow.append(rig.connect_slow(images))
        images.publish_many([bytes(1 << 20)], strict=False)
        rig.settle()
    assert [rig.condemned(peer) for peer in slow].count(Cause.MEMORY) == 1
    assert all(rig.condemned(peer) is None for peer in others)
    victim = next(peer for peer in slow if rig.condemned(peer))
    victim.close()
    rig.until_departed(victim)
    rig.until(lambda: rig.memory_bytes < 8 << 20)
    assert sum(rig.condemned(peer) is not None for peer in slow) == 1


# --- block ------------------------------------------------------------------------------------------------------------


def is_read(rig: Rig, publisher: Peer) -> bool:
    """Whether the engine reads this publisher now; what it sends for that is given back at once."""
    before = len(rig.lent(publisher))
    publisher.send(b"?")
    rig.settle()
    if len(rig.lent(publisher)) == before:
        return False
    rig.engine.resume(publisher.token)
    rig.settle()
    return True


@pytest.mark.parametrize("policy", ["block", "disconnect", "skip"])
def test_block_holds_publishers_for_one_of_many_and_the_others_do_not(rig: Rig, policy: str) -> None:
    bounds = {"max_lag_bytes": 100_000, "pace_lag_bytes": 90_000}
    topic = rig.engine.topic("/block", policy=policy, **bounds)
    fast, slow = [rig.connect(topic) for _ in range(9)], rig.connect_slow(topic)
    publisher = rig.connect(topic, PUBLISHER)
    topic.publish(bytes(150_000))
    for peer in fast:
        peer.read(len(frame(bytes(150_000))))
    rig.watch(0.03)
    assert topic.paced == (policy == "block")
    assert is_read(rig, publisher) != (policy == "block")
    assert (rig.condemned(slow) is not None) == (policy == "disconnect")


def test_block_lets_publishers_go_on_when_all_are_back_within_the_bound(rig: Rig) -> None:
    topic = rig.engine.topic("/block", policy="block", max_lag_bytes=100_000)
    slow, publisher = rig.connect_slow(topic), rig.connect(topic, PUBLISHER)
    topic.publish(bytes(300_000))
    rig.until(lambda: topic.paced)
    assert not is_read(rig, publisher)
    slow.read(300_010 - 100_000 + 5000)
    rig.until(lambda: rig.lent(publisher) == b"?")
    assert not topic.paced
    assert topic.log_bytes > 0


@pytest.mark.parametrize("over", [0, 1])
def test_block_begins_one_byte_over_the_bound(rig: Rig, over: int) -> None:
    topic = rig.engine.topic("/block", policy="block", max_lag_bytes=50_000, pace_lag_bytes=1 << 40)
    slow = rig.connect_in_mid_frame(topic, BEGUN)
    rest = len(frame(BEGUN)) - slow.taken
    topic.publish(bytes(50_000 - rest - 4 + over))
    if over:
        rig.until(lambda: topic.paced)
    else:
        rig.watch(0.05, that=lambda: not topic.paced)


@pytest.mark.parametrize("bounds", [{"max_lag_messages": 3}, {"max_lag_age": 0.1}])
def test_block_knows_the_other_bounds_too(rig: Rig, bounds: dict[str, float]) -> None:
    topic = rig.engine.topic("/block", policy="block", **bounds)  # type: ignore[arg-type]
    slow = rig.connect_in_mid_frame(topic, BEGUN)
    topic.publish_many([b"1", b"2", b"3"])
    rig.until(lambda: topic.paced)
    slow.expect(frame(BEGUN), frame(b"1"), frame(b"2"), frame(b"3"))
    rig.until(lambda: not topic.paced)
    assert rig.condemned(slow) is None


def test_under_block_nobody_is_closed_for_lag_and_nothing_is_lost(rig: Rig) -> None:
    topic = rig.engine.topic("/block", policy="block", max_lag_bytes=10_000, max_lag_messages=2)
    slow = rig.connect_in_mid_frame(topic, BEGUN)
    messages = [b"%d " % number + bytes(9000) for number in range(100)]
    topic.publish_many(messages)
    rig.watch(0.1, that=never_condemned(rig, slow))
    slow.expect(frame(BEGUN), *map(frame, messages))
    assert topic.skips == 0


def test_under_block_one_that_takes_nothing_for_a_second_holds_up_nobody(rig: Rig) -> None:
    topic = rig.engine.topic("/block", policy="block", max_lag_bytes=100_000)
    slow, publisher = rig.connect_slow(topic), rig.connect(topic, PUBLISHER)
    topic.publish(bytes(300_000))
    rig.until(lambda: topic.paced)
    assert not is_read(rig, publisher)
    rig.until(lambda: not topic.paced, 3.0)
    rig.until(lambda: rig.lent(publisher) == b"?")
    assert rig.condemned(slow) is None


def test_under_block_one_that_takes_nothing_for_write_timeout_is_stalled(make_rig: MakeRig) -> None:
    rig = make_rig(write_timeout=0.2)
    topic = rig.engine.topic("/block", policy="block", max_lag_bytes=100)
    assert rig.until_condemned(rig.connect_in_mid_frame(topic, BEGUN)) == Cause.STALLED
    rig.until(lambda: not topic.paced)


def test_under_block_a_duplex_clients_own_cursor_does_not_stop_its_own_socket(rig: Rig) -> None:
    topic = rig.engine.topic("/block", policy="block", max_lag_bytes=100_000)
    duplex, other = rig.connect_slow(topic, DUPLEX), rig.connect(topic, PUBLISHER)
    topic.publish(bytes(300_000))
    rig.until(lambda: topic.paced)
    assert is_read(rig, duplex)
    assert not is_read(rig, other)


def test_under_block_the_program_itself_is_not_held_and_is_told_of_room(rig: Rig) -> None:
    topic = rig.engine.topic("/block", policy="block", max_lag_bytes=100_000)
    slow = rig.connect_slow(topic)
    topic.publish(bytes(300_000))
    rig.until(lambda: topic.paced)
    topic.publish(b"all the same")
    rig.engine.want_room()
    slow.expect(frame(bytes(300_000)), frame(b"all the same"))
    rig.until(lambda: not topic.paced and any(event.token == 0 for event in rig.events))

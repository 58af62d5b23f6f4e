"""Control frames: only between frames (RFC 6455 section 5.4), ahead of further data, and never after a Close."""

from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, Topic
from tests.support.engine import Rig
from tests.support.frames import BINARY, CLOSE, PING, PONG, frame, parse
from tests.support.rawclient import frame as client_frame
from tests.support.sockets import Pair

PING_FRAME = frame(b"", PING)
BYE = frame(b"\x03\xe8bye", CLOSE)
LARGE = bytes(range(256)) * 800  # 204,800 bytes: far more than a small socket takes at once


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/control")


def pong(number: int) -> bytes:
    return frame(number.to_bytes(2, "big"), PONG)


def test_a_control_frame_goes_out_at_once_when_nothing_is_owed(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, pair=new_pair())
    rig.engine.send(peer.token, pong(1))
    peer.expect(pong(1))


def test_a_control_frame_reaches_a_publisher(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    rig.engine.send(peer.token, pong(1))
    rig.engine.send(peer.token, pong(2))
    peer.expect(pong(1), pong(2))


def test_in_the_middle_of_a_frame_it_waits_for_the_boundary_and_goes_ahead_of_further_data(
    rig: Rig, topic: Topic
) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    topic.publish("next")
    rig.engine.send(peer.token, pong(1))
    peer.expect(frame(LARGE), pong(1), frame("next"))


def test_several_keep_their_order_at_one_boundary(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    topic.publish_many(["a", LARGE, "b"])
    for number in range(50):
        rig.engine.send(peer.token, pong(number) + PING_FRAME)
        rig.turn()
    peer.expect(
        frame(LARGE), *(pong(number) + PING_FRAME for number in range(50)), frame("a"), frame(LARGE), frame("b")
    )


@pytest.mark.parametrize("size", [1, 100, 1306, 2000, 5000, 70_000])
def test_in_the_middle_of_a_run_of_frames_it_goes_between_two(rig: Rig, topic: Topic, size: int) -> None:
    payloads = [bytes([number % 251]) * size for number in range(max(3, 30_000 // size))]
    peer = rig.connect_slow(topic)
    topic.publish_many(payloads)
    rig.settle()
    taken = rig.sent_bytes
    rig.engine.send(peer.token, pong(7))
    wanted = [frame(payload) for payload in payloads]
    before = -(-taken // len(wanted[0]))  # frames begun when it was sent
    assert 0 < before < len(wanted)
    peer.expect(*wanted[:before], pong(7), *wanted[before:])


@pytest.mark.parametrize("over", range(-3, 4))
def test_a_frame_that_ends_about_where_a_page_begins_is_told_from_the_next(rig: Rig, topic: Topic, over: int) -> None:
    """The log keeps a mark a page of 4,096 bytes, from which it looks for boundaries."""
    peer = rig.connect_slow(topic)
    first, second = bytes(4096 + over - 4), bytes(9000)
    topic.publish_many([first, second, b"next"])
    rig.settle()
    assert len(frame(first)) < rig.sent_bytes < 8192  # in the second frame, and in the second page
    rig.engine.send(peer.token, pong(1))
    rig.settle()
    peer.expect(frame(first), frame(second), pong(1), frame(b"next"))


def test_at_every_place_of_a_log_of_mixed_frames_it_finds_the_boundary(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_slow(topic)
    payloads = [bytes([number % 256]) * (number * 37 % 1900) for number in range(400)]
    topic.publish_many(payloads)
    sent = 0
    while len(peer.got) < sum(len(frame(payload)) for payload in payloads) + 4 * sent:
        rig.engine.send(peer.token, pong(sent))
        sent += 1
        rig.settle()
        peer.drain(777)
    frames, rest = parse(peer.take())
    assert [payload for opcode, payload in frames if opcode == BINARY] == payloads
    assert [payload for opcode, payload in frames if opcode == PONG] == [pong(number)[2:] for number in range(sent)]
    assert rest == b""


def test_frames_of_a_megabyte_each_are_never_broken_by_control_frames(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, pair=new_pair())
    payload = LARGE * 5
    topic.publish_many([payload, payload])
    rig.settle()
    rig.engine.send(peer.token, pong(1))
    peer.expect(frame(payload), pong(1), frame(payload))


def test_one_that_is_half_taken_is_finished_before_the_next(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_slow(topic)
    many = b"".join(pong(number) for number in range(3000))
    rig.engine.send(peer.token, many)
    rig.settle()
    rig.engine.send(peer.token, pong(1))
    topic.publish("data")
    peer.expect(many, pong(1), frame("data"))


def test_sending_nothing_sends_nothing(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    rig.engine.send(peer.token, b"")
    rig.engine.send(peer.token, pong(1))
    peer.expect(frame(LARGE), pong(1))


def test_a_full_control_backlog_stops_the_reading_until_it_has_drained(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE, DUPLEX)
    rig.engine.send(peer.token, pong(0) * 1024)  # 4,096 bytes: the most that may wait
    peer.send(b"still read")
    rig.settle()
    assert rig.lent(peer) == b"still read"
    rig.engine.send(peer.token, pong(0))
    rig.engine.resume(peer.token)
    peer.send(b"not read")
    rig.settle()
    assert rig.lent(peer) == b"still read"
    peer.read(len(frame(LARGE)) + 4 * 1025)
    rig.settle()
    assert rig.lent(peer) == b"still readnot read"


# --- Close -----------------------------------------------------------------------------------------------------------


@pytest.mark.hosted
def test_who_always_leaves_a_little_unread_does_not_make_what_waits_grow(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=1 << 20)
    peer = rig.connect_slow(rig.engine.topic("/control"), PUBLISHER)
    ping, pong_bytes = client_frame(bytes(125), PING), len(frame(bytes(125), PONG))
    peer.socket.setblocking(False)
    sent = got = 0

    def send() -> bool:
        nonlocal sent
        try:
            assert peer.socket.send(ping) == len(ping)  # a unix socket takes all of so little, or nothing
        except BlockingIOError:
            return False
        sent += 1
        rig.settle()
        return True

    largest = 0
    for _ in range(3000):
        while send():
            continue
        # A third of what is under way: so the engine always has some left, and reads on.
        for _ in range(max(1, (sent - got // pong_bytes) // 3)):
            got += peer.drain(pong_bytes)
            rig.settle()
        peer.got.clear()
        largest = max(largest, rig.memory_bytes)
    assert got > 4 << 20
    assert largest < 256 * 1024


def test_close_waits_for_the_end_of_the_frame_and_nothing_follows_it(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    topic.publish("never sent")
    rig.engine.end(peer.token, BYE)
    topic.publish("nor this")
    rig.engine.send(peer.token, pong(1))
    peer.expect(frame(LARGE), BYE)


def test_control_frames_that_wait_go_before_the_close(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    topic.publish("never sent")
    rig.engine.send(peer.token, pong(1))
    rig.engine.end(peer.token, BYE)
    rig.engine.send(peer.token, pong(2))
    peer.expect(frame(LARGE), pong(1), BYE)


def test_close_at_a_boundary_cuts_the_log_off_there(rig: Rig, topic: Topic, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, pair=new_pair())
    topic.publish("sent")
    peer.expect(frame("sent"))
    rig.engine.end(peer.token, BYE)
    rig.settle()
    topic.publish("not sent")
    peer.expect(BYE)


@pytest.mark.hosted
def test_with_after_log_everything_published_until_now_comes_first(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    topic.publish_many(["a", LARGE, "b"])
    rig.engine.send(peer.token, pong(1))
    rig.engine.end(peer.token, BYE, after_log=True)
    rig.turn()
    topic.publish("after")
    peer.expect(frame(LARGE), pong(1), frame("a"), frame(LARGE), frame("b"), BYE)
    assert rig.memory_bytes == 0


def test_with_after_log_and_nothing_owed_the_close_goes_at_once(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    rig.engine.end(peer.token, BYE, after_log=True)
    peer.expect(BYE)
    topic.publish("after")
    peer.expect_nothing()


def test_what_was_published_before_the_call_is_in_even_without_a_turn_between(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    topic.publish_many([b"x" * 100] * 1000)
    rig.engine.end(peer.token, BYE, after_log=True)
    peer.expect(frame(b"x" * 100) * 1000, BYE)


def test_a_second_close_is_not_sent(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    rig.engine.end(peer.token, BYE)
    rig.engine.end(peer.token, frame(b"\x03\xe9", CLOSE))
    rig.engine.end(peer.token, frame(b"\x03\xe9", CLOSE), discard=True)
    assert peer.read_to_end() == BYE


def test_a_close_before_the_connection_was_ever_served_follows_the_head(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    topic.publish("waiting")
    rig.engine.start(peer.token, fd, b"HEAD")
    rig.engine.end(peer.token, BYE, after_log=True)
    rig.settle()
    peer.expect(b"HEAD", frame("waiting"), BYE)


def test_a_frame_cut_off_without_a_close_is_followed_by_no_control_frame(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(close_deadline=0.05)
    topic = rig.engine.topic("/control")
    peer = rig.connect_in_mid_frame(topic, LARGE)
    rig.engine.send(peer.token, pong(1))
    rig.engine.end(peer.token, discard=True)
    stream = peer.read_to_end()
    whole = frame(LARGE).startswith(stream)
    assert whole, f"a frame was broken by {stream[-4:]!r} after {len(stream) - 4} of its bytes"

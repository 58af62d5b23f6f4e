"""How connections end: deadlines, discarding, and departures with their cause and whether our Close was sent whole."""

import socket
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Cause, EventKind, Topic
from tests.support.engine import Rig
from tests.support.frames import CLOSE, frame
from tests.support.sockets import Pair, tcp_pair

BYE = frame(b"\x03\xe8", CLOSE)
LARGE = bytes(200_000)
SOON = 0.1  # seconds: a close deadline that a test can wait for


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/close")


@pytest.fixture
def hasty(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(close_deadline=SOON)


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
def test_a_peer_that_ends_its_stream_has_left(rig: Rig, topic: Topic, role: int, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, role, new_pair())
    peer.close()
    assert rig.until_departed(peer) == (Cause.LEFT, 0)
    assert (rig.connections, topic.clients) == (0, 0)


def test_a_peer_that_ends_only_its_sending_has_left_too(rig: Rig, topic: Topic, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, pair=new_pair())
    peer.socket.shutdown(socket.SHUT_WR)
    assert rig.until_departed(peer) == (Cause.LEFT, 0)
    assert peer.read_to_end() == b""


def test_a_peer_that_resets_departs_as_reset(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER, tcp_pair())
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    peer.close()
    assert rig.until_departed(peer) == (Cause.RESET, 0)


def test_a_peer_that_goes_in_the_middle_of_a_frame_departs_and_gives_the_log_back(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, pair=new_pair())
    topic.publish(bytes(2_000_000))
    rig.settle()
    assert topic.log_bytes > 0
    peer.close()
    cause, close_sent = rig.until_departed(peer)
    assert cause in (Cause.LEFT, Cause.RESET)
    assert (close_sent, topic.log_bytes, rig.memory_bytes, topic.subscribers) == (0, 0, 0, 0)


def test_when_the_peer_ends_its_stream_after_our_close_it_is_closed(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, pair=new_pair())
    rig.engine.end(peer.token, BYE)
    peer.expect(BYE)
    peer.close()
    assert rig.until_departed(peer) == (Cause.CLOSED, 1)


def test_the_peers_answer_is_lent_and_then_finishes_the_stream(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, DUPLEX, new_pair())
    rig.engine.end(peer.token, BYE)
    peer.expect(BYE)
    peer.send(b"last words and a Close")
    rig.until(lambda: rig.lent(peer) == b"last words and a Close")
    rig.engine.end(peer.token, discard=True)
    assert peer.read_to_end() == b""
    assert not peer.reset
    peer.close()
    assert rig.until_departed(peer) == (Cause.CLOSED, 1)


def test_answering_the_peers_close_finishes_the_stream_behind_it(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, PUBLISHER, new_pair())
    peer.send(b"Close")
    rig.until(lambda: rig.lent(peer) == b"Close")
    rig.engine.end(peer.token, BYE, discard=True)
    assert peer.read_to_end() == BYE
    peer.close()
    assert rig.until_departed(peer) == (Cause.CLOSED, 1)


def test_with_discard_a_close_in_the_middle_of_a_frame_still_goes_behind_it(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    rig.engine.end(peer.token, BYE, discard=True)
    assert peer.read_to_end() == frame(LARGE) + BYE
    peer.close()
    assert rig.until_departed(peer) == (Cause.CLOSED, 1)


def test_with_discard_nothing_more_is_lent_however_much_arrives(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, DUPLEX, new_pair())
    peer.send(b"broken")
    rig.until(lambda: rig.lent(peer) == b"broken")
    rig.engine.end(peer.token, BYE, discard=True)
    for _ in range(50):
        peer.send(bytes(60_000))
        rig.settle()
    assert peer.read_to_end() == BYE
    peer.socket.shutdown(socket.SHUT_WR)
    assert rig.until_departed(peer) == (Cause.CLOSED, 1)
    assert rig.lent(peer) == b"broken"
    assert rig.memory_bytes == 0


def test_discard_gives_lent_bytes_back_without_a_resume(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, DUPLEX)
    peer.send(bytes(5000))
    rig.settle()
    assert rig.memory_bytes == 5000
    rig.engine.end(peer.token, BYE, discard=True)
    rig.settle()
    assert rig.memory_bytes == 0
    rig.engine.resume(peer.token)
    rig.settle()
    assert rig.memory_bytes == 0


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_a_peer_that_does_not_answer_our_close_is_reset_at_the_deadline(
    hasty: Rig, new_pair: Callable[..., Pair]
) -> None:
    peer = hasty.connect(hasty.engine.topic("/close"), pair=new_pair())
    hasty.engine.end(peer.token, BYE)
    assert hasty.until_departed(peer) == (Cause.CLOSE_TIMEOUT, 1)
    assert peer.read_to_end().startswith(BYE) or peer.reset


def test_a_peer_that_does_not_take_our_close_departs_without_it(hasty: Rig) -> None:
    topic = hasty.engine.topic("/close")
    peer = hasty.connect_in_mid_frame(topic, LARGE)
    hasty.engine.end(peer.token, BYE)
    assert hasty.until_departed(peer) == (Cause.CLOSE_TIMEOUT, 0)
    assert hasty.memory_bytes == 0
    assert peer.read_to_end() == frame(LARGE)[: peer.taken]


def test_a_peer_that_never_ends_its_stream_after_both_closes_is_closed_at_the_deadline(
    hasty: Rig, new_pair: Callable[..., Pair]
) -> None:
    peer = hasty.connect(hasty.engine.topic("/close"), pair=new_pair())
    hasty.engine.end(peer.token, BYE, discard=True)
    assert hasty.until_departed(peer) == (Cause.CLOSED, 1)


def test_a_deadline_of_its_own_counts_instead_of_the_engines(rig: Rig, topic: Topic) -> None:
    # The engine's are five seconds: this test would not wait for them.
    soon, later = rig.connect(topic), rig.connect(topic)
    rig.engine.end(soon.token, BYE, deadline=0.05)
    rig.engine.end(later.token, BYE)
    assert rig.until_departed(soon) == (Cause.CLOSE_TIMEOUT, 1)
    assert rig.departed(later) is None


def test_the_deadline_also_holds_for_what_has_to_go_before_the_close(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, LARGE)
    topic.publish(LARGE)
    rig.engine.end(peer.token, BYE, after_log=True, deadline=0.05)
    assert rig.until_departed(peer) == (Cause.CLOSE_TIMEOUT, 0)
    assert (topic.log_bytes, rig.memory_bytes) == (0, 0)


def test_a_reset_throws_away_what_the_kernel_still_holds(hasty: Rig) -> None:
    topic = hasty.engine.topic("/close")
    peer = hasty.connect(topic, pair=tcp_pair())
    topic.publish(bytes(20_000_000))
    hasty.settle()
    hasty.engine.abort(peer.token)
    assert hasty.until_departed(peer) == (Cause.ABORTED, 0)
    peer.read_to_end()
    assert peer.reset


# --- causes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
def test_abort_ends_a_connection_now(rig: Rig, topic: Topic, role: int, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, role, new_pair())
    topic.publish(bytes(1_000_000))
    rig.engine.abort(peer.token)
    rig.settle()
    assert rig.departed(peer) == (Cause.ABORTED, 0)
    peer.read_to_end()
    assert (rig.memory_bytes, rig.connections, topic.subscribers) == (0, 0, 0)


def test_abort_after_our_close_says_that_the_close_was_sent(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    rig.engine.end(peer.token, BYE)
    peer.expect(BYE)
    rig.engine.abort(peer.token)
    assert rig.until_departed(peer) == (Cause.ABORTED, 1)


def test_a_departure_is_the_last_that_is_heard_of_a_connection(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, DUPLEX)
    peer.send(b"one")
    rig.settle()
    for call in (rig.engine.abort, rig.engine.resume, rig.engine.abort):
        call(peer.token)
    rig.engine.send(peer.token, BYE)
    rig.engine.end(peer.token, BYE)
    rig.settle()
    assert [event.kind for event in rig.events] == [EventKind.LENT, EventKind.DEPARTED]


def test_closing_the_engine_resets_everybody_and_their_departures_can_be_taken(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    topic = rig.engine.topic("/close")
    peers = [rig.connect(topic, role) for role in (PUBLISHER, SUBSCRIBER, DUPLEX)]
    topic.publish(bytes(3_000_000))
    rig.settle()
    rig.engine.close()
    assert {(event[1], event[0], event[2]) for event in rig.engine.take_events()} == {
        (peer.token, EventKind.DEPARTED, Cause.ABORTED) for peer in peers
    }
    assert (rig.memory_bytes, rig.connections, topic.log_bytes) == (0, 0, 0)
    for peer in peers:
        peer.drain()
        assert peer.ended


def test_closing_the_engine_before_a_start_was_carried_out_closes_the_descriptor(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    peer, fd = rig.attach(rig.engine.topic("/close"))
    rig.engine.start(peer.token, fd)
    rig.engine.close()
    peer.drain()
    assert peer.ended
    assert rig.connections == 0


def test_closing_the_engine_tells_the_departure_of_one_whose_start_was_not_carried_out(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig()
    peer, fd = rig.attach(rig.engine.topic("/close"))
    rig.engine.start(peer.token, fd)
    rig.engine.close()
    assert [event[:3] for event in rig.engine.take_events()] == [(EventKind.DEPARTED, peer.token, Cause.ABORTED)]


def test_a_write_error_ends_only_the_write_side(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, DUPLEX)
    peer.send(b"last words")
    rig.settle()
    peer.send(b", and some more")
    peer.close()
    topic.publish(b"into the void")
    rig.settle()
    assert (rig.departed(peer), topic.log_bytes) == (None, 0)
    rig.engine.resume(peer.token)
    rig.until(lambda: rig.lent(peer) == b"last words, and some more")
    rig.engine.resume(peer.token)
    assert rig.until_departed(peer)[1] == 0

"""The two descriptors a host watches: readable while there is work, while events wait, and quiet otherwise."""

from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, EventKind, Topic
from tests.support.engine import Rig
from tests.support.frames import CLOSE, frame
from tests.support.sockets import readable, unix_pair

pytestmark = pytest.mark.hosted


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/ready")


def has_work(rig: Rig) -> bool:
    return readable(rig.engine.work_fileno())


def has_events(rig: Rig) -> bool:
    return readable(rig.engine.events_fileno())


def turns_within(rig: Rig, seconds: float) -> int:
    before = rig.engine.stats()["turns"]
    rig.watch(seconds)
    return rig.engine.stats()["turns"] - before


# --- work ------------------------------------------------------------------------------------------------------------


def test_a_new_engine_has_no_work_and_no_events(rig: Rig) -> None:
    assert not has_work(rig)
    assert not has_events(rig)


def test_publishing_to_a_subscriber_is_work_and_one_turn_does_it(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    topic.publish("one")
    assert has_work(rig)
    rig.turn()
    assert not has_work(rig)
    assert peer.socket.recv(100) == frame("one")


def test_publishing_to_nobody_is_no_work(rig: Rig, topic: Topic) -> None:
    topic.publish("one")
    assert not has_work(rig)


def test_publishing_to_one_that_is_only_attached_is_no_busy_loop(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic)
    topic.publish("one")
    assert turns_within(rig, 0.1) <= 1
    rig.engine.start(peer.token, fd)
    assert has_work(rig)


ORDERS: dict[str, Callable[[Rig, int], None]] = {
    "send": lambda rig, token: rig.engine.send(token, b"\x8a\x00"),
    "resume": lambda rig, token: rig.engine.resume(token),
    "end": lambda rig, token: rig.engine.end(token, frame(b"", CLOSE)),
    "abort": lambda rig, token: rig.engine.abort(token),
    "beat": lambda rig, token: rig.engine.beat(1.0, 1.0, 1.0),
    "want_room": lambda rig, token: rig.engine.want_room(),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_work_until_it_is_carried_out(rig: Rig, topic: Topic, name: str) -> None:
    peer = rig.connect(topic)
    ORDERS[name](rig, peer.token)
    assert has_work(rig)
    rig.turn()
    rig.settle()
    assert not has_work(rig)


def test_bytes_from_a_peer_are_work(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(b"hello")
    assert has_work(rig)
    rig.settle()
    assert rig.lent(peer) == b"hello"


def test_a_peer_that_goes_is_work(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    peer.close()
    assert has_work(rig)
    rig.settle()
    assert rig.departed(peer)


def test_room_in_a_full_socket_is_work_and_a_full_socket_is_none(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, bytes(100_000))
    assert not has_work(rig)
    peer.drain()
    assert has_work(rig)


def test_a_turn_cut_short_leaves_the_descriptor_readable(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(1500)]
    topic.publish(bytes(20_000))
    turns = 0
    while has_work(rig):
        rig.engine.turn(budget=0.0)
        turns += 1
        assert turns < 10_000
    assert turns > 1
    for peer in peers:
        assert len(peer.socket.recv(30_000)) == 20_004


def test_without_connections_there_is_never_anything_to_do(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    peer.close()
    rig.until_departed(peer)
    rig.watch(0.6)  # a last tick may find out that nobody is left
    assert turns_within(rig, 0.6) == 0


def test_idle_connections_cost_a_few_ticks_a_second(rig: Rig, topic: Topic) -> None:
    for _ in range(20):
        rig.connect(topic, DUPLEX)
    assert turns_within(rig, 0.6) <= 4


def test_a_stuck_subscriber_is_no_busy_loop(rig: Rig, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, bytes(100_000))
    rig.engine.send(peer.token, b"\x8a\x00")
    assert turns_within(rig, 0.6) <= 5


def test_a_lent_connection_with_more_to_read_is_no_busy_loop(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(bytes(150_000))
    rig.settle()
    assert turns_within(rig, 0.6) <= 4


def test_a_held_publisher_with_more_to_read_is_no_busy_loop(rig: Rig) -> None:
    topic = rig.engine.topic("/held", pace_lag_bytes=1000)
    publisher = rig.connect(topic, PUBLISHER)
    rig.connect_in_mid_frame(topic, bytes(100_000))
    rig.until(lambda: topic.paced)
    publisher.send(bytes(150_000))
    assert turns_within(rig, 0.5) <= 6
    assert rig.lent(publisher) == b""


def test_a_condemned_connection_that_nobody_ends_is_no_busy_loop(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(write_timeout=2.0)
    topic = rig.engine.topic("/condemned", max_lag_bytes=1000)
    peer = rig.connect_in_mid_frame(topic, bytes(100_000))
    rig.until_condemned(peer)
    assert turns_within(rig, 0.5) <= 4


def test_a_peer_that_only_ended_its_sending_while_it_is_lent_is_no_busy_loop(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(b"x")
    rig.settle()
    peer.close()
    assert turns_within(rig, 0.5) <= 4
    rig.engine.resume(peer.token)
    rig.until_departed(peer)


def test_many_orders_are_one_wake_up(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(100)]
    before = rig.engine.stats()["turns"]
    for peer in peers:
        rig.engine.send(peer.token, b"\x8a\x00")
        topic.publish("x")
    rig.settle()
    assert rig.engine.stats()["turns"] - before <= 5
    for peer in peers:
        assert peer.socket.recv(1000).count(frame("x")) == 100


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_are_readable_until_the_last_is_taken(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic, PUBLISHER) for _ in range(3)]
    for peer in peers:
        peer.send(b"x")
    rig.engine.turn()
    for left in (2, 1, 0):
        assert has_events(rig)
        assert len(rig.engine.take_events(limit=1)) == 1
        assert has_events(rig) == (left > 0)
    assert rig.engine.take_events() == []


def test_take_events_gives_the_oldest_first_and_at_most_the_limit(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic, PUBLISHER) for _ in range(10)]
    for peer in peers:
        peer.send(b"x")
        rig.engine.turn()
    tokens = [event[1] for limit in (4, 4, 4) for event in rig.engine.take_events(limit=limit)]
    assert tokens == [peer.token for peer in peers]


def test_a_limit_of_zero_takes_nothing(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER, leftover=b"x")
    rig.events.clear()
    rig.engine.abort(peer.token)
    rig.engine.turn()
    assert rig.engine.take_events(limit=0) == []
    assert has_events(rig)
    assert [event[0] for event in rig.engine.take_events()] == [EventKind.DEPARTED]


def test_an_event_after_the_descriptor_went_quiet_makes_it_readable_again(rig: Rig, topic: Topic) -> None:
    for _ in range(3):
        peer = rig.connect(topic, PUBLISHER)
        assert not has_events(rig)
        peer.close()
        rig.engine.turn()
        assert has_events(rig)
        rig.turn()


def test_taking_nothing_leaves_a_quiet_descriptor_quiet(rig: Rig) -> None:
    assert rig.engine.take_events() == []
    assert not has_events(rig)


def test_the_descriptors_stay_the_same(rig: Rig, topic: Topic) -> None:
    before = (rig.engine.work_fileno(), rig.engine.events_fileno())
    rig.connect(topic, pair=unix_pair())
    assert (rig.engine.work_fileno(), rig.engine.events_fileno()) == before

"""Publishers that wait go on when what they wait for is over, and not only when the next tick looks.

A tick comes four times a second here. So where every wait ended with one, what these tests do would take far longer
than their patience.
"""

import threading
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, Topic
from tests.support.engine import PATIENCE, Peer, Rig
from tests.support.rawclient import frame
from tests.support.sockets import tcp_pair

MANY = 16 << 20  # in chunks of 64 KiB, 256 waits at least; or more, by the bounds of the topics here
BOUNDS = {"max_lag_bytes": 200_000, "pace_lag_bytes": 100_000}


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(lane_bytes=1 << 20, write_timeout=60.0)


def flood(peer: Peer) -> threading.Thread:
    """Publishes for ever, in a thread that ends with its socket."""
    messages = frame(bytes(1000)) * 60

    def send() -> None:
        try:
            while True:
                peer.socket.sendall(messages)
        except OSError:
            return

    peer.socket.setblocking(True)
    thread = threading.Thread(target=send)
    thread.start()
    return thread


def read_many(rig: Rig, reader: Peer, *, at_a_time: int = 1 << 18) -> int:
    taken = 0

    def enough() -> bool:
        nonlocal taken
        taken += reader.drain(at_a_time)
        reader.got.clear()
        return taken >= MANY

    rig.until(enough)
    return taken


def end(peer: Peer, thread: threading.Thread) -> None:
    peer.socket.shutdown(2)
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("policy", ["skip", "block"])
@pytest.mark.parametrize("stalled", [0, 1])
def test_one_that_stalls_does_not_slow_the_others(rig: Rig, policy: str, stalled: int) -> None:
    topic = rig.engine.topic("/flood", policy=policy, **BOUNDS)
    healthy = rig.connect(topic, pair=tcp_pair())
    for _ in range(stalled):
        rig.connect(topic, pair=tcp_pair(send_buffer=0, receive_buffer=0))
    publisher = rig.connect(topic, PUBLISHER, tcp_pair())
    thread = flood(publisher)
    assert read_many(rig, healthy) >= MANY
    end(publisher, thread)


def test_under_block_a_slow_one_sets_the_pace_and_no_tick(rig: Rig) -> None:
    topic = rig.engine.topic("/flood", policy="block", max_lag_messages=100)
    readers = [rig.connect(topic, pair=tcp_pair()) for _ in range(3)]
    publisher = rig.connect(topic, PUBLISHER, tcp_pair())
    thread = flood(publisher)
    got = [0, 0, 0]

    def all_have_some() -> bool:
        for index, reader in enumerate(readers):
            got[index] += reader.drain(60_000)
            reader.got.clear()
        return min(got) >= 4 << 20

    rig.until(all_have_some)
    end(publisher, thread)


def over(rig: Rig, topic: Topic) -> Callable[[], object]:
    return lambda: topic.paced


def test_a_duplex_client_goes_on_when_only_its_own_cursor_is_left_over(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=1 << 20, write_timeout=60.0, io_threads=2)
    for number in range(100):
        topic = rig.engine.topic(f"/{number}", policy="block", max_lag_bytes=100_000)
        duplex, other = rig.connect_slow(topic, DUPLEX), rig.connect_slow(topic)
        topic.publish(bytes(300_000))
        rig.until(over(rig, topic))
        duplex.send(frame(b"own"))
        other.read(300_010)
        rig.until(lambda topic=topic: topic.next_offset == 3)  # type: ignore[misc]
        duplex.close()
        other.close()


def test_others_go_on_when_the_one_that_is_over_leaves(rig: Rig) -> None:
    for number in range(100):
        topic = rig.engine.topic(f"/{number}", policy="block", max_lag_bytes=100_000)
        slow, publisher = rig.connect_slow(topic), rig.connect(topic, PUBLISHER)
        rig.connect(topic)
        topic.publish(bytes(300_000))
        rig.until(over(rig, topic))
        publisher.send(frame(b"waits"))
        slow.close()
        rig.until(lambda topic=topic: topic.next_offset == 3)  # type: ignore[misc]
        publisher.close()


def test_after_a_skip_nobody_is_held_for_a_lag_that_is_gone(rig: Rig) -> None:
    topic = rig.engine.topic("/skip", policy="skip", max_lag_messages=10)
    peer = rig.connect_in_mid_frame(topic, bytes(20_000))
    topic.publish_many([bytes(50_000)] * 100)  # more than pace_lag_bytes; what is left is less
    rig.until(lambda: topic.skips == 1)
    assert not topic.paced
    assert peer.taken

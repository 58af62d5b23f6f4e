"""A host asks for the engine's descriptor once, and watches it: whatever is work makes it readable without being asked.

(The other tests ask each time, which looks at once. Where the kernel has no descriptor for many sockets, a thread
looks in between.)
"""

import socket
import time
from collections.abc import Callable

import pytest

from fastfan import PUBLISHER, Topic
from tests.support.engine import PATIENCE, Peer, Rig
from tests.support.frames import frame
from tests.support.rawclient import frame as client_frame
from tests.support.sockets import readable

pytestmark = pytest.mark.hosted


class Host:
    """A loop that knows nothing but the descriptor."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.fd = rig.engine.work_fileno()

    def rest(self) -> None:
        """Turns until the descriptor stays quiet for a while."""
        while readable(self.fd, 0.02):
            self.rig.turn()

    def turn(self) -> None:
        """A turn when told to; not to be told is a failure."""
        assert readable(self.fd, PATIENCE), "nobody tells the host"
        self.rig.turn()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"did not happen; events: {self.rig.told()}"
            self.turn()


@pytest.fixture
def host(rig: Rig) -> Host:
    return Host(rig)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/host")


def test_bytes_from_a_peer_wake_it(rig: Rig, host: Host, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    for number in range(20):
        host.rest()
        peer.send(bytes([number]))
        while len(rig.lent(peer)) <= number:
            host.turn()
        rig.engine.resume(peer.token)


def test_more_than_one_read_takes_wakes_it_until_all_is_read(rig: Rig, host: Host, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    host.rest()
    peer.send(bytes(150_000))

    def has_all() -> bool:
        rig.engine.resume(peer.token)
        return len(rig.lent(peer)) == 150_000

    host.until(has_all)


def test_a_peer_that_goes_wakes_it(rig: Rig, host: Host, topic: Topic) -> None:
    peer = rig.connect(topic)
    host.rest()
    peer.close()
    host.until(lambda: rig.departed(peer))


def test_a_peer_that_is_reset_wakes_it(rig: Rig, host: Host, topic: Topic, new_pair: Callable[..., object]) -> None:
    peer = rig.connect(topic, pair=new_pair())  # type: ignore[arg-type]
    host.rest()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    host.until(lambda: rig.departed(peer))


def test_room_in_a_full_socket_wakes_it_until_all_is_sent(rig: Rig, host: Host, topic: Topic) -> None:
    peer = rig.connect_in_mid_frame(topic, bytes(300_000))
    host.rest()

    def has_all() -> bool:
        peer.drain()
        return peer.got == frame(bytes(300_000))

    host.until(has_all)


def test_a_message_and_an_order_wake_it(rig: Rig, host: Host, topic: Topic) -> None:
    peer = rig.connect(topic)
    host.rest()
    topic.publish("one")
    host.until(lambda: peer.drain() or peer.got == frame("one"))
    rig.engine.abort(peer.token)
    host.until(lambda: rig.departed(peer))


def test_a_deadline_wakes_it(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(write_timeout=0.2)
    host = Host(rig)
    peer = rig.connect_in_mid_frame(rig.engine.topic("/late"), bytes(100_000))
    host.until(lambda: rig.condemned(peer) is not None)


def test_one_that_comes_while_nobody_looks_wakes_it(rig: Rig, host: Host, topic: Topic) -> None:
    host.rest()
    peer, fd = rig.attach(topic, PUBLISHER)
    rig.engine.start(peer.token, fd)
    host.rest()
    peer.send(b"hello")
    host.until(lambda: rig.lent(peer) == b"hello")


def test_an_aborted_peer_is_reset_though_nobody_turns(rig: Rig, host: Host, topic: Topic) -> None:
    peer = rig.connect(topic)
    host.rest()
    rig.engine.abort(peer.token)
    rig.turn()
    assert readable(peer.socket.fileno(), PATIENCE)
    peer.drain()
    assert peer.ended


def test_nobody_waits_for_ever_behind_many_that_always_have_something(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=1000)
    host = Host(rig)
    peers = [rig.connect(rig.engine.topic("/busy"), PUBLISHER) for _ in range(300)]
    first = rig.engine.topic("/busy").next_offset
    for _ in range(20):
        for peer in peers:
            peer.send(client_frame(b"x"))
        rig.turn()
    host.until(lambda: rig.engine.topic("/busy").next_offset == first + 20 * 300)


def test_those_that_go_from_the_middle_leave_the_others_watched(rig: Rig, host: Host, topic: Topic) -> None:
    peers = [rig.connect(topic, PUBLISHER) for _ in range(200)]
    for peer in peers[::3]:
        rig.engine.abort(peer.token)
    host.rest()
    kept: list[Peer] = [peer for peer in peers if not rig.departed(peer)]
    kept += [rig.connect(topic, PUBLISHER) for _ in range(50)]
    assert len(kept) > 150
    for peer in reversed(kept):
        peer.send(b"here")
        while rig.lent(peer) != b"here":
            host.turn()

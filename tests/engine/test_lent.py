"""Lent connections: while Python has bytes of one, the engine reads no more of it; nothing is lost or overtaken."""

import contextlib
import random
import socket
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Cause, EventKind, Topic
from tests.support.engine import Rig
from tests.support.frames import frame
from tests.support.sockets import Pair, readable, tcp_pair

CHUNK = 65536  # most that is lent at a time


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/lent")


def take_all(rig: Rig, peer_count: int = 1) -> None:
    """Resumes whatever is lent, as a shell does."""
    for event in rig.events:
        if event.kind == EventKind.LENT:
            rig.engine.resume(event.token)


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
def test_what_any_connection_sends_is_lent(rig: Rig, topic: Topic, role: int, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, role, new_pair())
    peer.send(b"hello")
    rig.until(lambda: rig.lent(peer) == b"hello")


def test_it_is_not_read_again_before_resume(rig: Rig, topic: Topic, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, PUBLISHER, new_pair())
    peer.send(b"first")
    rig.until(lambda: rig.lent(peer) == b"first")
    peer.send(b"second")
    rig.settle()
    assert rig.lent(peer) == b"first"
    rig.engine.resume(peer.token)
    rig.until(lambda: rig.lent(peer) == b"firstsecond")
    assert len(rig.of(peer, EventKind.LENT)) == 2


def test_one_chunk_is_out_at_a_time(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(bytes(2 * CHUNK + 100))
    for count, size in enumerate([CHUNK, CHUNK, 100], 1):
        rig.settle()
        chunks = rig.of(peer, EventKind.LENT)
        assert len(chunks) == count
        assert len(chunks[-1].data) == size
        rig.engine.resume(peer.token)
    rig.settle()
    assert len(rig.of(peer, EventKind.LENT)) == 3


def test_a_stream_of_any_length_comes_whole_and_in_order(rig: Rig, topic: Topic, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, PUBLISHER, new_pair())
    data = random.Random(1).randbytes(3_000_000)
    rest = memoryview(data)
    got = bytearray()

    def all_came() -> bool:
        nonlocal rest
        if rest:
            with contextlib.suppress(BlockingIOError):
                rest = rest[peer.socket.send(rest) :]
        for event in rig.of(peer, EventKind.LENT):
            got.extend(event.data)
            rig.engine.resume(peer.token)
        rig.events.clear()
        return len(got) == len(data)

    rig.until(all_came)
    same = got == data
    assert same


def test_leftover_comes_before_anything_from_the_socket(rig: Rig, topic: Topic) -> None:
    peer, fd = rig.attach(topic, PUBLISHER)
    peer.send(b" world")
    rig.engine.start(peer.token, fd, leftover=b"hello")
    rig.settle()
    assert [event.data for event in rig.events] == [b"hello"]
    rig.engine.resume(peer.token)
    rig.settle()
    assert [event.data for event in rig.events] == [b"hello", b" world"]


def test_a_leftover_larger_than_a_chunk_comes_in_one_piece(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER, leftover=bytes(3 * CHUNK))
    assert [len(event.data) for event in rig.events] == [3 * CHUNK]
    assert rig.memory_bytes == 3 * CHUNK
    rig.engine.resume(peer.token)
    rig.settle()
    assert rig.memory_bytes == 0


def test_the_end_of_the_stream_is_told_only_after_resume(rig: Rig, topic: Topic, new_pair: Callable[..., Pair]) -> None:
    peer = rig.connect(topic, PUBLISHER, new_pair())
    peer.send(b"last words")
    rig.until(lambda: rig.lent(peer) == b"last words")
    peer.close()
    rig.settle()
    assert rig.departed(peer) is None
    rig.engine.resume(peer.token)
    assert rig.until_departed(peer) == (Cause.LEFT, 0)


def test_bytes_and_end_that_came_together_are_told_in_order(
    rig: Rig, topic: Topic, new_pair: Callable[..., Pair]
) -> None:
    peer = rig.connect(topic, PUBLISHER, new_pair())
    peer.send(b"last words")
    peer.close()
    rig.until(lambda: rig.lent(peer) == b"last words")
    assert rig.departed(peer) is None
    rig.engine.resume(peer.token)
    assert rig.until_departed(peer) == (Cause.LEFT, 0)


def test_a_chunk_that_is_exactly_full_and_then_the_end_loses_neither(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(bytes(CHUNK))
    peer.close()
    rig.settle()
    assert len(rig.lent(peer)) == CHUNK
    rig.engine.resume(peer.token)
    assert rig.until_departed(peer) == (Cause.LEFT, 0)


@pytest.mark.parametrize("role", [PUBLISHER, DUPLEX])
def test_a_publishers_last_bytes_before_a_reset_are_delivered(rig: Rig, topic: Topic, role: int) -> None:
    peer = rig.connect(topic, role, tcp_pair())
    peer.send(b"last words")
    rig.until(lambda: rig.lent(peer) == b"last words")
    peer.send(b" and more")
    # What the engine's end has is in its receive queue by now: loopback delivers before send() returns.
    peer.socket.shutdown(socket.SHUT_WR)
    topic.publish(bytes(3_000_000))
    rig.settle()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    rig.engine.resume(peer.token)
    rig.until(lambda: rig.lent(peer) == b"last words and more")
    peer.close()
    rig.engine.resume(peer.token)
    assert rig.until_departed(peer)[0] in (Cause.LEFT, Cause.RESET)


def test_data_flows_to_a_lent_connection(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, DUPLEX)
    peer.send(b"hello")
    rig.settle()
    topic.publish("data")
    peer.expect(frame("data"))


def test_lent_bytes_are_charged_until_resume(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic, PUBLISHER) for _ in range(3)]
    for peer in peers:
        peer.send(bytes(1000))
    rig.settle()
    assert rig.memory_bytes == 3000
    rig.engine.resume(peers[0].token)
    rig.settle()
    assert rig.memory_bytes == 2000
    rig.engine.abort(peers[1].token)
    rig.settle()
    assert rig.memory_bytes == 1000


def test_a_resume_of_what_is_not_lent_changes_nothing(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    rig.engine.resume(peer.token)
    rig.settle()
    peer.send(b"hello")
    rig.settle()
    assert (rig.lent(peer), rig.memory_bytes) == (b"hello", 5)


@pytest.mark.hosted
def test_a_lent_connection_that_goes_on_sending_keeps_the_engine_quiet(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(b"first")
    rig.settle()
    for _ in range(5):
        peer.send(b"more")
        rig.settle()
        assert not readable(rig.engine.work_fileno())
    assert rig.lent(peer) == b"first"


def test_received_bytes_are_counted(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER)
    peer.send(bytes(1234))
    rig.settle()
    assert rig.engine.stats()["received_bytes"] == 1234


def test_many_connections_lend_at_once_and_each_its_own(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic, PUBLISHER) for _ in range(200)]
    for number, peer in enumerate(peers):
        peer.send(f"I am {number}".encode())
    rig.settle()
    for number, peer in enumerate(peers):
        assert rig.lent(peer) == f"I am {number}".encode()

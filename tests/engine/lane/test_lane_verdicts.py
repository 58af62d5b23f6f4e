"""What the lane ends a connection for: text that is none, what is too large, too slow, or finds no memory."""

import contextlib
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Cause, Topic
from tests.support.engine import IO_THREADS, Peer, Rig
from tests.support.frames import frame as server_frame
from tests.support.lane import LANE, Ends, send
from tests.support.rawclient import CLOSE, CONTINUATION, PING, TEXT, frame
from tests.support.sockets import unix_pair

WRONG_AT_THE_END = frame(b"aa\xff", TEXT)
BAD_TEXTS = {
    "whole": [frame(b"\xff", TEXT)],
    "whole, cut character": [frame(b"\xe2\x82", TEXT)],
    "over a chunk": [frame(b"a" * 99_999 + b"\xff", TEXT)],
    "in the rest of a frame": [WRONG_AT_THE_END[:8], WRONG_AT_THE_END[8:]],
    "before the rest of a frame": [frame(b"\xff" + bytes(100), TEXT)[:50]],
    "character wrong over fragments": [frame(b"\xc3", TEXT, fin=False), frame(b"a", CONTINUATION)],
    "character cut at the last fragment": [frame(b"a", TEXT, fin=False), frame(b"\xc3", CONTINUATION)],
    "character cut at an empty fragment": [frame(b"\xc3", TEXT, fin=False), frame(b"", CONTINUATION)],
}


def expect_condemned(rig: Rig, peer: Peer, cause: int) -> None:
    """Nothing more of it is read, and any Close of the shell's ends it."""
    assert rig.until_condemned(peer) == cause
    received = rig.engine.stats()["received_bytes"]
    peer.send(frame(b"behind"))
    rig.settle()
    assert rig.engine.stats()["received_bytes"] == received
    rig.engine.end(peer.token, server_frame(b"\x03\xe8", CLOSE))
    assert peer.read_to_end().endswith(server_frame(b"\x03\xe8", CLOSE))
    peer.close()
    assert rig.until_departed(peer) == (Cause.CLOSED, 1)
    assert rig.lent(peer) == b""


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
@pytest.mark.parametrize("pieces", BAD_TEXTS.values(), ids=list(BAD_TEXTS))
def test_text_that_is_not_utf8_condemns(rig: Rig, topic: Topic, pieces: list[bytes], role: int) -> None:
    subscriber = rig.connect(topic)
    peer, before = rig.connect(topic, role), rig.memory_bytes
    for piece in [frame("fine", TEXT), *pieces]:
        send(peer, piece)
    expect_condemned(rig, peer, Cause.BAD_TEXT)
    subscriber.expect(*[server_frame("fine")] * (role != SUBSCRIBER))
    assert rig.memory_bytes == before


def test_wrong_text_is_left_out_of_the_log_where_it_had_room_and_where_it_had_none(ends: Ends) -> None:
    for filler in (10, 4000):
        ends.topic.publish(bytes(filler))
        bad = ends.rig.connect(ends.topic, PUBLISHER)
        bad.send(frame(b"\xff" * 3000, TEXT))
        assert ends.rig.until_condemned(bad) == Cause.BAD_TEXT
        ends.send(frame("good", TEXT))
        ends.expect(bytes(filler), "good")


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER])
@pytest.mark.parametrize(
    "over",
    [
        [frame(bytes(11))],
        [frame(bytes(11))[:16], frame(bytes(11))[16:]],
        [frame(bytes(10), fin=False), frame(b"", CONTINUATION, fin=False), frame(b"x", CONTINUATION)],
        [frame(b"", announced=1 << 40), bytes(11)],
        [frame("é" * 5, TEXT, fin=False) + frame(b"x", CONTINUATION, fin=False)],
    ],
    ids=["whole", "cut", "fragments", "announced", "text"],
)
def test_a_message_over_lane_bytes_condemns_once_so_much_is_here(
    make_rig: Callable[..., Rig], over: list[bytes], role: int
) -> None:
    rig = make_rig(lane_bytes=10)
    peer = rig.connect(rig.engine.topic("/x"), role)
    for piece in [frame(bytes(10)), *over[:-1]]:
        peer.send(piece)
        rig.settle()
    assert not rig.condemned(peer)
    peer.send(over[-1])
    expect_condemned(rig, peer, Cause.TOO_BIG)
    assert rig.memory_bytes == 0


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
@pytest.mark.parametrize("within", range(4))
@pytest.mark.parametrize("bytewise", [True, False])
@pytest.mark.parametrize(
    ("last", "verdict"), [(b"", Cause.TOO_BIG), (b"a", Cause.BAD_TEXT), (b"\xe2", Cause.BAD_TEXT)], ids=str
)
def test_a_character_across_lane_bytes_counts_when_it_is_whole(
    make_rig: Callable[..., Rig], role: int, within: int, bytewise: bool, last: bytes, verdict: int
) -> None:
    """As wsproto decodes it: of a part of one nobody knows yet whether it is text."""
    rig = make_rig(lane_bytes=10)
    peer = rig.connect(rig.engine.topic("/x"), role)
    character = "😀".encode()
    begun = b"a" * (10 - within) + character[:3]
    stream = frame(begun + (last or character[3:]) + b"more", TEXT)[:-4]
    part, rest = stream[:-1], stream[-1:]
    for piece in [part[at : at + 1] for at in range(len(part))] if bytewise else [part]:
        peer.send(piece)
        rig.settle()
    assert not rig.condemned(peer)
    peer.send(rest)
    expect_condemned(rig, peer, verdict)
    assert rig.memory_bytes == 0


def test_who_is_being_closed_already_is_condemned_as_well(ends: Ends) -> None:
    close = server_frame(b"\x03\xf4", CLOSE)
    ends.rig.engine.end(ends.publisher.token, close)
    ends.send(frame(b"\xff", TEXT))
    assert ends.rig.until_condemned(ends.publisher) == Cause.BAD_TEXT
    ends.rig.engine.end(ends.publisher.token, discard=True)
    assert ends.publisher.read_to_end() == close
    ends.publisher.close()
    ends.rig.until_departed(ends.publisher)


def test_a_message_that_finds_no_room_condemns(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=8 << 20, max_memory_bytes=1 << 20)
    topic = rig.engine.topic("/x")
    rig.connect_slow(topic)
    topic.publish(bytes(530_000))
    peer, held = rig.connect(topic, PUBLISHER), rig.memory_bytes
    # With a block of 0.25 MiB that is under four fifths; with one twice as large it is over the limit.
    send(peer, frame(bytes(2 << 20))[:300_000])
    expect_condemned(rig, peer, Cause.NO_ROOM)
    assert rig.memory_bytes == held


def test_when_messages_that_arrive_are_over_half_of_the_limit_the_largest_goes(make_rig: Callable[..., Rig]) -> None:
    # Each thread ends the largest of its own.
    rig = make_rig(lane_bytes=8 << 20, max_memory_bytes=1 << 20, io_threads=min(IO_THREADS, 1))
    topic = rig.engine.topic("/x")
    small, large, grows = (rig.connect(topic, PUBLISHER) for _ in range(3))
    begun = frame(bytes(1 << 20), fin=False)
    send(small, begun[:100])
    send(large, begun[:200_000])
    assert [rig.condemned(peer) for peer in (small, large)] == [None] * 2
    for at in range(0, 200_000, 10_000):
        if rig.condemned(large) is None:
            send(grows, begun[at : at + 10_000])
    assert rig.condemned(large) == Cause.NO_ROOM
    assert [rig.condemned(peer) for peer in (small, grows)] == [None] * 2


def test_a_message_that_the_program_puts_together_is_no_reason_to_end_a_clients(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=8 << 20, max_memory_bytes=4 << 20)
    topic = rig.engine.topic("/x")
    ours = topic.partial()
    ours.extend(bytes(2_200_000))  # over half of the limit
    peers = [rig.connect(topic, PUBLISHER) for _ in range(2)]
    for piece in (frame(b"a" * 1000, fin=False), frame(b"b", CONTINUATION)):
        for peer in peers:
            send(peer, piece)
    assert [rig.condemned(peer) for peer in peers] == [None] * 2
    assert topic.next_offset == 3
    ours.publish()
    assert topic.next_offset == 4


@pytest.mark.parametrize("announced", [10, 50_000, LANE])
def test_a_message_that_is_not_complete_in_time_condemns(make_rig: Callable[..., Rig], announced: int) -> None:
    rig = make_rig(lane_bytes=LANE, message_timeout=0.05)
    peer = rig.connect(rig.engine.topic("/x"), PUBLISHER)
    whole = frame(bytes(announced))
    send(peer, whole[:-5])
    expect_condemned(rig, peer, Cause.MESSAGE_TIMEOUT)
    assert rig.memory_bytes == 0


def test_so_does_one_that_goes_on_a_byte_at_a_time_or_in_empty_fragments(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=LANE, message_timeout=0.05)
    for piece in (b"x", frame(b"", CONTINUATION, fin=False)):
        peer = rig.connect(rig.engine.topic("/x"), PUBLISHER)
        peer.send(frame(bytes(5000))[:20] if len(piece) == 1 else frame(b"", fin=False))
        for _ in range(1000):
            if rig.condemned(peer):
                break
            peer.send(piece)
            rig.watch(0.002)
        assert rig.condemned(peer) == Cause.MESSAGE_TIMEOUT


def test_who_leaves_its_pongs_unread_has_no_longer_than_others(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=LANE, message_timeout=0.2)
    peer = rig.connect(rig.engine.topic("/x"), PUBLISHER, unix_pair(send_buffer=0))
    peer.send(frame(bytes(30_000), fin=False))
    peer.socket.setblocking(False)
    ping = frame(bytes(125), PING)

    def is_condemned() -> bool:
        with contextlib.suppress(BlockingIOError):
            while peer.socket.send(ping):
                continue
        return rig.condemned(peer) is not None

    rig.until(is_condemned)
    assert rig.condemned(peer) == Cause.MESSAGE_TIMEOUT


def test_nobodys_message_is_late_before_its_first_byte(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=LANE, message_timeout=0.05)
    peers = [rig.connect(rig.engine.topic("/x"), role) for role in (PUBLISHER, PUBLISHER, SUBSCRIBER)]
    for peer, data in zip(peers, (frame(b"x")[:3], frame(b"x")[:6], frame(b"xy")[:7]), strict=True):
        peer.send(data)
    rig.watch(0.3, that=lambda: not any(map(rig.condemned, peers)))

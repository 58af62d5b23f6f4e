"""The express lane: what it takes, what it leaves to Python, and that no cut of the stream matters."""

import contextlib
import random
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, EventKind, Topic
from tests.support.engine import Rig
from tests.support.frames import frame as server_frame
from tests.support.frames import parse
from tests.support.lane import LANE, Ends, send
from tests.support.rawclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, frame
from tests.support.sockets import unix_pair

# --- taken ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 262_144, LANE])
def test_a_whole_binary_message_goes_into_the_log_without_python(ends: Ends, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    ends.send(frame(payload))
    ends.expect(payload)
    assert ends.topic.next_offset == 2


@pytest.mark.parametrize("text", ["", "x", "grün", "€" * 60, "😀" * 20_000, "é" * (LANE // 2)], ids=len)
def test_so_does_a_text_message(ends: Ends, text: str) -> None:
    ends.send(frame(text, TEXT) + frame(b"behind"))
    ends.expect(text, b"behind")


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("cuts", [[1], [0, 5], [3, 3, 4], [1, 2, 3, 4, 5, 6, 7]])
def test_so_does_a_message_in_fragments_with_control_frames_between_them(
    ends: Ends, opcode: int, cuts: list[int]
) -> None:
    payload = "a€😀é".encode()
    parts = [payload[start:end] for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    first = frame(parts[0], opcode, fin=False)
    more = b"".join(frame(part, CONTINUATION, fin=False) + frame(b"p", PING) for part in parts[1:-1])
    ends.send(first + frame(b"", PONG) + more, frame(parts[-1], CONTINUATION) + frame(b"whole"))
    ends.expect(payload.decode() if opcode == TEXT else payload, b"whole")
    ends.publisher.expect(server_frame(b"p", PONG) * (len(parts) - 2))


def test_a_slow_message_is_passed_by_everybody_elses(ends: Ends) -> None:
    other = ends.rig.connect(ends.topic, PUBLISHER)
    whole = frame(b"slow" * 5000)
    ends.send(whole[:10_000])
    other.send(frame(b"quick"))
    ends.expect(b"quick")
    ends.send(whole[10_000:])
    ends.expect(b"slow" * 5000)


def test_it_counts_for_the_log_when_nobody_subscribes(rig: Rig, topic: Topic) -> None:
    publisher = rig.connect(topic, PUBLISHER)
    send(publisher, frame("é", TEXT) + frame(b"a", fin=False) + frame(b"b", CONTINUATION) + frame(bytes(100_000)))
    assert (topic.next_offset, topic.log_bytes) == (4, 0)
    assert (rig.engine.stats()["messages"], rig.engine.stats()["message_bytes"]) == (3, 100_004)
    assert rig.memory_bytes == 0


def test_messages_of_one_chunk_keep_their_order_and_are_counted(ends: Ends) -> None:
    payloads = [bytes([i % 256]) * (i % 300) for i in range(500)]
    ends.send(b"".join(map(frame, payloads)))
    ends.expect(*payloads)
    stats = ends.rig.engine.stats()
    assert (stats["messages"], stats["message_bytes"]) == (500, sum(map(len, payloads)))


def test_byte_by_byte_is_the_same(ends: Ends) -> None:
    payloads = [b"", b"a", bytes(126), b"c" * 7]
    ends.send(*(bytes([byte]) for byte in b"".join(map(frame, payloads))))
    ends.expect(*payloads)


def test_more_than_a_chunk_is_read_to_its_end_though_nobody_subscribes(rig: Rig, topic: Topic) -> None:
    publisher = rig.connect(topic, PUBLISHER)
    data = frame(bytes(1000)) * 150  # more than two chunks, and no more than a socket holds
    publisher.send(data)
    rig.settle()
    assert topic.next_offset == 151
    assert not rig.of(publisher, EventKind.LENT)


def test_what_came_behind_the_request_takes_the_lane(rig: Rig, topic: Topic) -> None:
    subscriber = rig.connect(topic)
    cut = frame(b"cut")
    publisher = rig.connect(topic, PUBLISHER, leftover=frame(b"early") + cut[:4])
    publisher.send(cut[4:])
    subscriber.expect(server_frame(b"early"), server_frame(b"cut"))
    assert rig.lent(publisher) == b""


def test_pongs_are_nobodys_business(rig: Rig, topic: Topic) -> None:
    subscriber, publisher = rig.connect(topic), rig.connect(topic, PUBLISHER)
    for peer in (subscriber, publisher):
        peer.send(frame(b"", PONG) + frame(bytes(125), PONG) * 3)
        rig.settle()
        assert rig.lent(peer) == b""


def test_a_duplex_client_gets_its_own(rig: Rig, topic: Topic) -> None:
    client = rig.connect(topic, DUPLEX)
    client.send(frame(b"mine"))
    client.expect(server_frame(b"mine"))


@pytest.mark.hosted
def test_a_round_reads_so_much_and_no_more_however_many_publishers_have_more(rig: Rig) -> None:
    publishers = [rig.connect(rig.engine.topic(f"/{number}"), PUBLISHER) for number in range(200)]
    data = frame(bytes(1000)) * 140  # more than two chunks each
    for publisher in publishers:
        publisher.send(data)
    before = rig.engine.stats()["received_bytes"]
    for rounds in range(1, 6):
        rig.engine.turn(0)  # a single round
        read = rig.engine.stats()["received_bytes"] - before
        assert 0 < read <= rounds * (16 + 64 + 64) * 65_536
    rig.settle()
    assert rig.engine.stats()["messages"] == 200 * 140


def test_a_quiet_topic_is_served_beside_many_that_are_flooded(rig: Rig) -> None:
    quiet = Ends(rig, rig.engine.topic("/quiet"))
    flooded = [Ends(rig, rig.engine.topic(f"/{number}")) for number in range(100)]
    for ends in flooded:
        ends.publisher.send(frame(bytes(1000)) * 140)
    quiet.publisher.send(frame(b"small"))
    quiet.subscriber.expect(server_frame(b"small"))
    for ends in flooded:
        ends.subscriber.read(140 * 1004)
    assert not any(rig.condemned(ends.subscriber) for ends in flooded)


# --- pings ----------------------------------------------------------------------------------------------------------


def test_a_ping_is_answered_with_its_payload_by_every_role(rig: Rig, topic: Topic) -> None:
    for role in (PUBLISHER, SUBSCRIBER, DUPLEX):
        peer = rig.connect(topic, role)
        pings = [b"", b"x", bytes(range(125))]
        peer.send(b"".join(frame(payload, PING) for payload in pings))
        peer.expect(*(server_frame(payload, PONG) for payload in pings))
        assert rig.lent(peer) == b""


def test_a_pong_says_that_what_came_before_the_ping_is_in_the_log(ends: Ends) -> None:
    ends.send(frame(b"before") + frame(b"p", PING))
    ends.publisher.expect(server_frame(b"p", PONG))
    assert ends.topic.next_offset == 2


def test_a_pong_waits_for_the_frame_boundary(rig: Rig, topic: Topic) -> None:
    payload = random.Random(1).randbytes(500_000)
    client = rig.connect_in_mid_frame(topic, payload, DUPLEX)
    client.send(frame(b"p", PING))
    rig.settle()
    topic.publish(b"later")
    client.expect(server_frame(payload), server_frame(b"p", PONG), server_frame(b"later"))


def test_no_ping_is_answered_once_the_connection_is_closing(ends: Ends) -> None:
    close = server_frame(b"\x03\xf4", CLOSE)
    ends.rig.engine.end(ends.publisher.token, close)
    ends.publisher.expect(close)
    ends.send(frame(b"p", PING) + frame(b"last") + frame(b"q", PING))
    ends.expect(b"last")
    ends.publisher.expect_nothing()


def test_who_does_not_read_its_pongs_is_not_read(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, PUBLISHER, unix_pair(send_buffer=0))
    ping = frame(bytes(125), PING)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 1 << 24:
            sent += peer.socket.send(ping * 100)
            rig.settle()
    assert rig.engine.stats()["received_bytes"] < sent < 1 << 24
    pongs = sent // len(ping)
    assert peer.read(pongs * 127) == server_frame(bytes(125), PONG) * pongs


# --- what subscribers send ------------------------------------------------------------------------------------------


def test_a_subscribers_messages_are_counted_and_thrown_away(rig: Rig, topic: Topic) -> None:
    subscriber, before = rig.connect(topic), rig.memory_bytes
    junk = frame(b"junk") + frame("é", TEXT) + frame(b"a", fin=False) + frame(b"", PONG) + frame(b"b", CONTINUATION)
    for data in (junk, frame(bytes(LANE)), frame(bytes(100_000))[:50_000]):
        send(subscriber, data)
    stats = rig.engine.stats()
    assert (stats["ignored_messages"], stats["messages"], rig.memory_bytes) == (4, 0, before)
    assert topic.next_offset == 1
    assert not rig.of(subscriber, EventKind.LENT)


# --- left to Python -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [frame(b"whole"), frame(b"a", fin=False)], ids=["between messages", "inside one"])
def test_a_close_is_lent_in_one_piece_and_so_is_all_behind_it(ends: Ends, before: bytes) -> None:
    close, behind = close_frame(1000, "bye"), frame(b"behind")
    ends.send(before + close[:-1])
    assert ends.rig.lent(ends.publisher) == b""
    ends.send(close[-1:] + behind)
    assert ends.rig.lent(ends.publisher) == close + behind
    ends.rig.engine.resume(ends.publisher.token)
    ends.send(behind)
    assert ends.rig.lent(ends.publisher) == close + behind + behind


MALFORMED = {
    "reserved bit": frame(b"x", rsv=4),
    "opcode 3": frame(b"x", 3),
    "unmasked": frame(b"x", masked=False),
    "long length": frame(bytes(5), length_bytes=3),
    "fragmented ping": frame(b"x", PING, fin=False),
    "ping of 126": frame(bytes(126), PING),
    "continuation of nothing": frame(b"x", CONTINUATION),
    "length of 2**63": frame(b"", announced=1 << 63),
}


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=list(MALFORMED))
def test_from_the_first_malformed_byte_everything_is_pythons(ends: Ends, malformed: bytes) -> None:
    behind = frame(b"behind")
    ends.send(frame(b"before") + malformed + behind)
    ends.expect(b"before", lent=malformed + behind)
    ends.rig.engine.resume(ends.publisher.token)
    ends.send(behind)
    ends.expect(lent=malformed + behind + behind)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_inside_another_is_lent_behind_an_empty_first_fragment(ends: Ends, opcode: int) -> None:
    before = ends.rig.memory_bytes
    inner = frame(b"inner")
    ends.send(frame(b"outer", opcode, fin=False) + inner[:6])
    assert ends.rig.lent(ends.publisher) == b""
    ends.send(inner[6:])
    lent = ends.rig.lent(ends.publisher)
    assert lent == bytes([opcode, 0x80, 0, 0, 0, 0]) + inner[:7]
    ends.rig.engine.resume(ends.publisher.token)
    ends.rig.settle()
    assert ends.rig.memory_bytes == before


def test_without_a_lane_everything_is_lent(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=0)
    publisher = rig.connect(rig.engine.topic("/x"), PUBLISHER)
    data = frame(b"x") + frame(b"", PONG)
    publisher.send(data)
    rig.settle()
    assert rig.lent(publisher) == data


# --- what is kept of a cut message ----------------------------------------------------------------------------------


def test_what_is_here_of_a_message_is_charged_and_given_back(ends: Ends) -> None:
    before = ends.rig.memory_bytes
    whole = frame(bytes(200_000))
    ends.send(whole[:50_000])
    assert before + 50_000 <= ends.rig.memory_bytes <= before + 4 * 65_536
    ends.send(whole[50_000:])
    ends.expect(bytes(200_000))
    assert ends.rig.memory_bytes == before


def test_to_announce_much_costs_nothing(ends: Ends) -> None:
    before = ends.rig.memory_bytes
    ends.send(frame(b"", announced=LANE) + b"x")
    assert ends.rig.memory_bytes <= before + 4096


def test_nor_does_what_comes_of_it_byte_by_byte(ends: Ends) -> None:
    before = ends.rig.memory_bytes
    ends.send(frame(b"", announced=LANE) + b"x")
    for _ in range(100):
        ends.send(b"y")
    assert ends.rig.memory_bytes <= before + 4096


def test_room_for_a_message_in_fragments_doubles(ends: Ends) -> None:
    """A frame's length says nothing of the message's, and growing by a fragment at a time would copy without end."""
    held = {ends.rig.memory_bytes}
    ends.send(frame(bytes(1000), fin=False))
    for _ in range(900):
        ends.send(frame(bytes(1000), CONTINUATION, fin=False))
        held.add(ends.rig.memory_bytes)
    assert len(held) < 12
    ends.send(frame(b"", CONTINUATION))
    ends.expect(bytes(901_000))


@pytest.mark.parametrize("step", [1000, 8192, 40_000, 100_000])
def test_a_large_message_in_small_pieces_is_put_together_and_given_back(ends: Ends, step: int) -> None:
    before = ends.rig.memory_bytes
    payloads = [random.Random(size).randbytes(size) for size in (LANE, 20_000, 131_071, 10, 300_000)]
    stream = b"".join(map(frame, payloads))
    ends.send(*(stream[at : at + step] for at in range(0, len(stream), step)))
    ends.expect(*payloads)
    assert ends.rig.memory_bytes == before


@pytest.mark.parametrize("cut", [3, 40, 15_000], ids=["header", "ping", "message"])
@pytest.mark.parametrize("end", ["left", "aborted", "discarded"])
def test_what_was_cut_goes_with_its_connection(ends: Ends, end: str, cut: int) -> None:
    before = ends.rig.memory_bytes
    ends.send(frame(bytes(120), PING)[:cut] if cut == 40 else frame(bytes(20_000))[:cut])
    assert ends.rig.memory_bytes > before
    if end == "left":
        ends.publisher.close()
    elif end == "aborted":
        ends.rig.engine.abort(ends.publisher.token)
    else:
        ends.rig.engine.end(ends.publisher.token, discard=True)
        ends.rig.settle()
        assert ends.rig.memory_bytes == before
        ends.publisher.close()
    ends.rig.until_departed(ends.publisher)
    assert ends.rig.memory_bytes == before


# --- any stream, cut anywhere ---------------------------------------------------------------------------------------


def random_stream(random_: random.Random) -> tuple[bytes, list[tuple[int, bytes]], list[bytes]]:
    """Frames; the messages among them, and the payloads of the pings."""
    stream, messages, pings = b"", [], []
    for _ in range(random_.randrange(1, 40)):
        opcode = random_.choice([BINARY, TEXT, PING, PONG])
        payload = random_.randbytes(random_.choice([0, 1, 5, 62, 63, 300, 2000, 40_000]))
        payload = payload.hex().encode() if opcode == TEXT else payload
        if opcode in (PING, PONG):
            stream += frame(payload[:125], opcode)
            pings += [payload[:125]] * (opcode == PING)
            continue
        messages.append((opcode, payload))
        while random_.random() < 0.5:
            at = random_.randrange(len(payload) + 1)
            stream += frame(payload[:at], opcode, fin=False) + frame(payload[:9], PING)
            pings.append(payload[:9])
            payload, opcode = payload[at:], CONTINUATION
        stream += frame(payload, opcode)
    return stream, messages, pings


@pytest.mark.parametrize("seed", range(60))
def test_messages_come_whole_and_in_order_however_the_stream_is_cut(ends: Ends, seed: int) -> None:
    random_ = random.Random(seed)
    before = ends.rig.memory_bytes
    stream, messages, pings = random_stream(random_)
    at = 0
    while at < len(stream):
        step = random_.choice([1, 2, 3, 7, 50, 500, 5000, 100_000])
        ends.send(stream[at : at + step])
        at += step
        ends.publisher.drain()
    ends.subscriber.drain()
    got, answers = ends.subscriber.take(), ends.publisher.take()
    assert parse(got) == (messages, b"")
    assert parse(answers) == ([(PONG, payload) for payload in pings], b"")
    assert ends.rig.memory_bytes == before
    assert ends.rig.lent(ends.publisher) == b""

"""The express lane: what it takes, what it leaves to Python, and that no cut of the stream makes a difference."""

import random
from collections.abc import Callable

import pytest

from fastfan import PUBLISHER, EventKind, Topic
from tests.support.engine import Rig
from tests.support.frames import frame as server_frame
from tests.support.frames import parse
from tests.support.rawclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

LANE = 131072


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(lane_bytes=LANE)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/lane")


class Ends:
    """A publisher and a subscriber of a topic."""

    def __init__(self, rig: Rig, topic: Topic) -> None:
        self.rig = rig
        self.topic = topic
        self.subscriber, self.publisher = rig.connect(topic), rig.connect(topic, PUBLISHER)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.publisher.send(piece)
            self.rig.settle()

    def expect(self, *payloads: bytes, lent: bytes = b"") -> None:
        """What has come into the log so far, and what was lent so far."""
        self.subscriber.expect(*map(server_frame, payloads))
        assert self.rig.lent(self.publisher) == lent


@pytest.fixture
def ends(rig: Rig, topic: Topic) -> Ends:
    return Ends(rig, topic)


# --- taken ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, LANE])
def test_a_whole_binary_message_goes_into_the_log_without_python(ends: Ends, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    ends.send(frame(payload))
    ends.expect(payload)
    assert ends.topic.next_offset == 2


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
    client = rig.connect(topic, 3)
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


# --- left to Python -------------------------------------------------------------------------------------------------

LEFT = {
    "text": frame("grün", TEXT),
    "ping": frame(b"p", PING),
    "close": frame(b"\x03\xe8", CLOSE),
    "fragments": frame(b"a", fin=False) + frame(b"b", PING) + frame(b"c", CONTINUATION),
    "too large": frame(bytes(LANE + 1)),
}


@pytest.mark.parametrize("left", LEFT.values(), ids=list(LEFT))
def test_what_is_not_for_the_lane_is_lent_and_all_behind_it_waits(ends: Ends, left: bytes) -> None:
    behind = frame(b"behind")
    ends.send(frame(b"before") + left + behind)
    lent = ends.rig.lent(ends.publisher)
    assert (left + behind).startswith(lent) and lent
    ends.subscriber.expect(server_frame(b"before"))
    # Python gets all of the frame, however many lendings it takes; what comes after that takes the lane.
    while not ends.rig.lent(ends.publisher).startswith(left):
        ends.rig.engine.resume(ends.publisher.token)
        ends.rig.settle()
    ends.rig.engine.resume(ends.publisher.token)
    ends.send(frame(b"after"))
    assert ends.subscriber.read(1) and not ends.rig.lent(ends.publisher).endswith(frame(b"after"))


def test_a_subscribers_messages_are_lent(rig: Rig, topic: Topic) -> None:
    subscriber = rig.connect(topic)
    junk = frame(b"junk")
    subscriber.send(junk)
    rig.settle()
    assert rig.lent(subscriber) == junk


def test_inside_a_fragmented_message_everything_is_lent(ends: Ends) -> None:
    pieces = [frame(b"a", fin=False), frame(b"", PONG), frame(b"b", CONTINUATION, fin=False), frame(b"c", CONTINUATION)]
    for piece in pieces:
        ends.send(piece)
        ends.rig.engine.resume(ends.publisher.token)
        ends.rig.settle()
    ends.expect(lent=b"".join(pieces))
    ends.send(frame(b"whole"))
    ends.expect(b"whole", lent=b"".join(pieces))


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


def test_without_a_lane_everything_is_lent(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=0)
    publisher = rig.connect(rig.engine.topic("/x"), PUBLISHER)
    data = frame(b"x") + frame(b"", PONG)
    publisher.send(data)
    rig.settle()
    assert rig.lent(publisher) == data


def test_a_message_over_lane_bytes_is_lent(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=10)
    topic = rig.engine.topic("/x")
    subscriber, publisher = rig.connect(topic), rig.connect(topic, PUBLISHER)
    over = frame(bytes(11))
    publisher.send(frame(bytes(10)) + over)
    subscriber.expect(server_frame(bytes(10)))
    assert rig.lent(publisher) == over


# --- the tail -------------------------------------------------------------------------------------------------------


def test_a_tail_is_charged_and_given_back(ends: Ends) -> None:
    before = ends.rig.memory_bytes
    whole = frame(bytes(20_000))
    ends.send(whole[:15_000])
    assert ends.rig.memory_bytes == before + 15_000
    ends.send(whole[15_000:])
    ends.expect(bytes(20_000))
    assert ends.rig.memory_bytes == before


@pytest.mark.parametrize("step", [1000, 8192, 40_000, 100_000])
def test_a_large_message_in_small_pieces_is_put_together_and_given_back(ends: Ends, step: int) -> None:
    before = ends.rig.memory_bytes
    payloads = [random.Random(size).randbytes(size) for size in (LANE, 20_000, LANE - 1, 10, 70_000)]
    stream = b"".join(map(frame, payloads))
    ends.send(*(stream[at : at + step] for at in range(0, len(stream), step)))
    ends.expect(*payloads)
    assert ends.rig.memory_bytes == before


@pytest.mark.parametrize("announced", [LANE, 50_000])
def test_a_large_message_that_does_not_go_on_is_lent_and_its_memory_given_back(
    make_rig: Callable[..., Rig], announced: int
) -> None:
    rig = make_rig(lane_bytes=LANE, write_timeout=0.05)
    ends = Ends(rig, rig.engine.topic("/x"))
    whole, before = frame(bytes(announced)), rig.memory_bytes
    ends.send(whole[:1000], whole[1000:2000])
    rig.until(lambda: rig.lent(ends.publisher))
    assert rig.lent(ends.publisher) == whole[:2000]
    rig.engine.resume(ends.publisher.token)
    rig.settle()
    assert rig.memory_bytes == before


@pytest.mark.parametrize("end", ["left", "aborted", "discarded"])
def test_a_tail_goes_with_its_connection(ends: Ends, end: str) -> None:
    before = ends.rig.memory_bytes
    ends.send(frame(bytes(20_000))[:15_000])
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


def test_a_message_that_does_not_go_on_is_lent_and_so_is_its_rest(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=LANE, write_timeout=0.05)  # ticks of milliseconds
    ends = Ends(rig, rig.engine.topic("/x"))
    whole = frame(b"0123456789")
    ends.send(frame(b"before") + whole[:9])
    rig.until(lambda: rig.lent(ends.publisher))
    assert rig.lent(ends.publisher) == whole[:9]
    rig.engine.resume(ends.publisher.token)
    ends.send(whole[9:])
    ends.expect(b"before", lent=whole)
    rig.engine.resume(ends.publisher.token)
    ends.send(frame(b"after"))
    ends.expect(b"after", lent=whole)


def test_one_that_goes_on_a_byte_at_a_time_is_lent_as_well(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=LANE, write_timeout=0.05)
    publisher = rig.connect(rig.engine.topic("/x"), PUBLISHER)
    whole = frame(bytes(5000))
    for at in range(1000):
        publisher.send(whole[at : at + 1])
        rig.watch(0.002)
        if rig.lent(publisher):
            break
    assert whole.startswith(rig.lent(publisher)) and rig.lent(publisher)


# --- any stream, cut anywhere ---------------------------------------------------------------------------------------


def random_stream(random_: random.Random) -> tuple[bytes, list[bytes]]:
    """Frames, some for the lane and some not, and the payloads of the binary messages among them."""
    frames, payloads = [], []
    for _ in range(random_.randrange(1, 40)):
        kind = random_.choices([BINARY, PONG, PING, TEXT, CONTINUATION], [12, 3, 1, 1, 1])[0]
        payload = random_.randbytes(random_.choice([0, 1, 5, 125, 126, 300, 2000]))
        if kind == BINARY:
            payloads.append(payload)
            frames.append(frame(payload))
        elif kind == CONTINUATION:
            payloads.append(payload + b"end")
            frames.append(frame(payload, fin=False) + frame(b"end", CONTINUATION))
        elif kind == TEXT:
            payloads.append(payload.hex().encode())
            frames.append(frame(payload.hex(), TEXT))
        else:
            frames.append(frame(payload[:125], kind))
    return b"".join(frames), payloads


class Reader:
    """Stands for Python: publishes what it is lent, from frames that it takes apart by itself."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.rest = b""
        self.message = b""

    def take(self) -> None:
        events = self.ends.rig.of(self.ends.publisher, EventKind.LENT)
        for event in events:
            self.rest += event.data
        self.ends.rig.events.clear()
        while (found := self.next_frame()) is not None:
            opcode, fin, payload = found
            if opcode in (BINARY, TEXT, CONTINUATION):
                self.message += payload
                if fin:
                    self.ends.topic.publish(self.message)
                    self.message = b""
        if events:
            self.ends.rig.engine.resume(self.ends.publisher.token)

    def next_frame(self) -> tuple[int, bool, bytes] | None:
        data = self.rest
        if len(data) < 6:
            return None
        size, at = data[1] & 127, 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        if len(data) < at + 4 + size:
            return None
        mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
        self.rest = data[at + 4 + size :]
        return data[0] & 15, bool(data[0] & 128), bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))


@pytest.mark.parametrize("seed", range(60))
def test_messages_come_whole_and_in_order_however_the_stream_is_cut(ends: Ends, seed: int) -> None:
    random_ = random.Random(seed)
    stream, payloads = random_stream(random_)
    reader = Reader(ends)
    at = 0
    while at < len(stream):
        step = random_.choice([1, 2, 3, 7, 50, 500, 5000, 200_000])
        ends.publisher.send(stream[at : at + step])
        at += step
        ends.rig.settle()
        reader.take()
    for _ in range(3):
        ends.rig.settle()
        reader.take()
    got = ends.subscriber.read(sum(len(server_frame(payload)) for payload in payloads)) if payloads else b""
    assert parse(got) == ([(BINARY, payload) for payload in payloads], b"")

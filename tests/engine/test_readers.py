"""Readers in this process: the log read from Python, by a cursor with the same lag rules as any other."""

import asyncio
import contextlib
import gc
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, EngineClosed, MisuseError, Reader, ReadyQueue, TooFarBehind, Topic
from tests.support.engine import PATIENCE, Rig
from tests.support.frames import frame, frame_bytes
from tests.support.sockets import readable

# --- what it gets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/read")


def everything(reader: Reader, limit: int = 1024) -> list[tuple[int, bytes | str]]:
    got: list[tuple[int, bytes | str]] = []
    while batch := reader.read(limit):
        assert len(batch) <= limit
        got += batch
    return got


def test_it_gets_what_is_published_after_it_was_made(topic: Topic) -> None:
    topic.publish(b"before")
    with topic.reader() as reader:
        assert (reader.read(), reader.offset, reader.lag_bytes) == ([], 2, 0)
        topic.publish(b"bytes")
        topic.publish("text é")
        assert reader.lag_bytes == frame_bytes(5) + frame_bytes(7)
        assert reader.read() == [(2, b"bytes"), (3, "text é")]
        assert (reader.read(), reader.offset, reader.lag_bytes) == ([], 4, 0)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300_000, 5_000_000])
def test_a_message_of_any_size_comes_whole(topic: Topic, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    with topic.reader() as reader:
        topic.publish(payload)
        topic.publish(b"behind it")
        assert [data for _, data in everything(reader)] == [payload, b"behind it"]


def test_a_message_that_came_in_pieces_is_one(topic: Topic) -> None:
    with topic.reader() as reader:
        partial = topic.partial(text=True)
        for _ in range(3):
            partial.extend("x" * 200_000)
        partial.publish()
        assert reader.read() == [(1, "x" * 600_000)]


def test_a_batch_is_bounded_in_messages_and_in_bytes(topic: Topic) -> None:
    with topic.reader() as reader:
        topic.publish_many([b"x" * 1000] * 10)
        assert len(reader.read(3)) == 3
        assert len(reader.read(max_bytes=2 * frame_bytes(1000))) == 2
        assert len(reader.read(max_bytes=1)) == 1
        assert [offset for offset, _ in reader.read()] == [7, 8, 9, 10]


def test_readers_and_subscribers_of_a_topic_get_the_same(rig: Rig, topic: Topic) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    peer = rig.connect(topic)
    readers = [topic.reader() for _ in range(3)]
    got: list[list[tuple[int, bytes | str]]] = [[] for _ in readers]
    published = []
    for number in range(1, 1500):
        payload = chance.randbytes(chance.choice([0, 10, 200, 5000, 70_000]))
        assert topic.publish(payload) == number
        published.append((number, payload))
        if chance.random() < 0.3:
            which = chance.randrange(3)
            got[which] += readers[which].read(chance.randrange(1, 50))
        if chance.random() < 0.05:
            peer.expect(*(frame(data) for _, data in published[peer_got(peer, len(published)) :]))
    for reader, batch in zip(readers, got, strict=True):
        batch += everything(reader)
        assert batch == published
    rig.settle()
    peer.expect(*(frame(data) for _, data in published[peer_got(peer, len(published)) :]))
    assert topic.log_bytes == 0
    for reader in readers:
        reader.close()


def peer_got(peer: object, published: int) -> int:
    """How many it had already got; all of the rest are expected now."""
    before: int = getattr(peer, "expected_so_far", 0)
    peer.expected_so_far = published  # type: ignore[attr-defined]
    return before


def test_what_a_client_sends_by_the_lane_reaches_it(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=65536)
    topic = rig.engine.topic("/lane")
    publisher = rig.connect(topic, PUBLISHER)
    with topic.reader() as reader:
        publisher.send(bytes([0x82, 0x85, 0, 0, 0, 0]) + b"hello")
        rig.until(lambda: reader.lag_bytes)
        assert reader.read() == [(1, b"hello")]


# --- memory ----------------------------------------------------------------------------------------------------------


def test_it_holds_the_log_from_its_place_and_no_more(rig: Rig, topic: Topic) -> None:
    with topic.reader() as reader:
        topic.publish_many([bytes(1000)] * 1000)
        held = topic.log_bytes
        assert held == 1000 * frame_bytes(1000) and rig.memory_bytes >= held
        while reader.read(200):
            assert reader.lag_bytes <= topic.log_bytes < reader.lag_bytes + (256 << 10)
        assert (topic.log_bytes, rig.memory_bytes) == (0, 0)
    topic.publish(bytes(1000))
    assert (topic.subscribers, topic.log_bytes) == (0, 0)


def test_one_that_is_closed_or_dropped_lets_go(rig: Rig, topic: Topic) -> None:
    readers = [topic.reader(), topic.reader()]
    assert topic.subscribers == 2
    topic.publish(bytes(1000))
    readers.pop().close()
    assert (topic.subscribers, topic.log_bytes) == (1, frame_bytes(1000))
    readers.clear()
    gc.collect()
    assert (topic.subscribers, rig.memory_bytes) == (0, 0)


def test_at_the_memory_limit_the_farthest_reader_goes(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(max_memory_bytes=1 << 20, lane_bytes=131072, write_timeout=0.05)
    topic = rig.engine.topic("/full")
    publisher = rig.connect(topic, PUBLISHER)
    with topic.reader() as slow, topic.reader() as fast:
        payload = bytes(60_000)
        for _ in range(40):
            # Held back from four fifths on; after a while the one that stands still makes room.
            publisher.send(bytes([0x82, 0xFE]) + len(payload).to_bytes(2, "big") + bytes(4) + payload)
            rig.until(lambda: fast.lag_bytes)
            everything(fast)
        with pytest.raises(TooFarBehind, match="max_memory_bytes=1048576"):
            slow.read()
    assert rig.memory_bytes == 0


# --- lag -------------------------------------------------------------------------------------------------------------


def test_too_far_behind_it_ends_with_an_error_that_says_so(rig: Rig) -> None:
    topic = rig.engine.topic("/bound", max_lag_bytes=100_000)
    with topic.reader() as slow, topic.reader() as fast:
        for _ in range(300):
            topic.publish(bytes(1000))
            fast.read()
        told = r"'/bound' was \d+ bytes behind at message 1, over max_lag_bytes=100000"
        with pytest.raises(TooFarBehind, match=told):
            slow.read()
        assert (topic.subscribers, slow.lag_bytes) == (1, 0)
        assert topic.publish(b"x") == 301
        assert fast.read() == [(301, b"x")]
        with pytest.raises(TooFarBehind):
            slow.wait(0)


def test_a_batch_over_the_bound_is_not_held_against_one_that_had_everything(rig: Rig) -> None:
    topic = rig.engine.topic("/bound", max_lag_bytes=100_000)
    with topic.reader() as reader:
        topic.publish_many([bytes(1000)] * 500)
        assert len(everything(reader)) == 500
        topic.publish(b"x")
        assert reader.read() == [(501, b"x")]


@pytest.mark.parametrize("bound", [{"max_lag_messages": 10}, {"max_lag_age": 0.001}])
def test_it_ends_by_the_other_bounds_too(rig: Rig, bound: dict[str, float]) -> None:
    topic = rig.engine.topic("/bound", **bound)  # type: ignore[arg-type]
    with topic.reader() as reader:
        deadline = time.monotonic() + PATIENCE
        with pytest.raises(TooFarBehind, match=f"{next(iter(bound))}={next(iter(bound.values()))}"):
            while time.monotonic() < deadline:
                topic.publish(b"x")
                if reader.offset == 1 and topic.next_offset < 3:
                    reader.wait(0)
                elif topic.subscribers == 0:
                    reader.read()


def test_publishers_wait_for_a_reader_that_reads(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=131072)
    topic = rig.engine.topic("/paced", pace_lag_bytes=200_000)
    publisher = rig.connect(topic, PUBLISHER)
    payload = bytes(50_000)
    message = bytes([0x82, 0xFE]) + len(payload).to_bytes(2, "big") + bytes(4) + payload
    publisher.socket.setblocking(True)
    sender = threading.Thread(target=publisher.socket.sendall, args=[message * 100])
    with topic.reader() as reader:
        sender.start()
        rig.until(lambda: rig.engine.stats()["held_publishers"])
        got, deadline = 0, time.monotonic() + PATIENCE
        while got < 100 and time.monotonic() < deadline:
            rig.turn_if_ready()
            assert reader.lag_bytes < 200_000 + 400_000
            got += len(reader.read(1))
        sender.join(PATIENCE)
        assert got == 100
        rig.until(lambda: not topic.paced)
    publisher.socket.setblocking(False)


def test_one_that_stopped_reading_holds_up_nobody_for_long(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=131072, write_timeout=1.0)
    topic = rig.engine.topic("/stopped", pace_lag_bytes=100_000, max_lag_bytes=2_000_000)
    publisher = rig.connect(topic, PUBLISHER)
    payload = bytes(50_000)
    message = bytes([0x82, 0xFE]) + len(payload).to_bytes(2, "big") + bytes(4) + payload
    publisher.socket.setblocking(True)
    sender = threading.Thread(target=publisher.socket.sendall, args=[message * 60])
    with topic.reader() as reader:
        sender.start()
        rig.until(lambda: topic.next_offset == 61)
        sender.join(PATIENCE)
        with pytest.raises(TooFarBehind):
            reader.read()
    publisher.socket.setblocking(False)


# --- being told ------------------------------------------------------------------------------------------------------


def test_its_descriptor_is_readable_while_there_is_something(topic: Topic) -> None:
    with topic.reader() as reader:
        fileno = reader.fileno()
        assert fileno == reader.fileno() and not readable(fileno)
        topic.publish_many([b"a", b"b"])
        topic.publish(b"c")
        assert readable(fileno)
        reader.read(2)
        assert readable(fileno)
        reader.read(2)
        assert not readable(fileno)


def test_a_descriptor_that_is_asked_for_late_says_what_waits(topic: Topic) -> None:
    with topic.reader() as reader:
        topic.publish(b"x")
        assert readable(reader.fileno())


async def test_it_is_read_in_an_asyncio_program(rig: Rig, topic: Topic) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[bytes | str]] = loop.create_future()
    got: list[bytes | str] = []
    with topic.reader() as reader:

        def on_readable() -> None:
            got.extend(data for _, data in reader.read())
            if len(got) == 100:
                done.set_result(got)

        loop.add_reader(reader.fileno(), on_readable)
        thread = threading.Thread(target=lambda: [topic.publish(str(number)) for number in range(100)])
        thread.start()
        async with asyncio.timeout(PATIENCE):
            assert await done == [str(number) for number in range(100)]
        thread.join()
        loop.remove_reader(reader.fileno())


def test_threads_wait_for_messages(topic: Topic) -> None:
    got: list[list[int]] = [[], [], []]

    def read(reader: Reader, mine: list[int]) -> None:
        while len(mine) < 2000 and reader.wait(PATIENCE):
            mine.extend(offset for offset, _ in reader.read())

    readers = [topic.reader() for _ in got]
    threads = [threading.Thread(target=read, args=each) for each in zip(readers, got, strict=True)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        topic.publish(b"x")
    for thread in threads:
        thread.join()
    assert got == [list(range(1, 2001))] * 3
    for reader in readers:
        reader.close()


def test_readers_come_and_go_while_threads_publish(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(io_threads=2)
    topic = rig.engine.topic("/coming-and-going")
    peer, queue = rig.connect(topic), ReadyQueue(rig.engine)
    errors: list[BaseException] = []
    ends = time.monotonic() + 1.0

    def publish() -> None:
        while time.monotonic() < ends:
            if topic.log_bytes < 1 << 20:
                topic.publish_many([b"x" * 300] * 20)

    def read() -> None:
        try:
            while time.monotonic() < ends:
                with topic.reader(ready=queue if random.random() < 0.5 else None) as reader:
                    due = reader.offset
                    for _ in range(random.randrange(8)):
                        reader.wait(0.001)
                        for offset, data in reader.read(random.randrange(1, 100)):
                            assert (offset, data) == (due, b"x" * 300)
                            due += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for work in (publish, publish, read, read, read)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        rig.turn_if_ready(0.01)
        peer.drain()
        peer.take()
    rig.until(lambda: not peer.drain() and topic.log_bytes == 0)
    assert not errors, errors
    assert topic.subscribers == 1


def test_a_wait_ends_with_its_timeout(topic: Topic) -> None:
    with topic.reader() as reader:
        assert reader.wait(0.01) is False
        assert reader.wait(0) is False
        topic.publish(b"x")
        assert reader.wait() is True


def test_a_wait_ends_when_the_reader_or_the_engine_is_closed(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    for close in (lambda reader: reader.close(), lambda reader: rig.engine.close()):
        reader = rig.engine.topic("/wait").reader()
        entered, ended = threading.Event(), threading.Event()

        def wait(reader: Reader = reader, entered: threading.Event = entered, ended: threading.Event = ended) -> None:
            entered.set()
            with contextlib.suppress(MisuseError):  # closed before it got there
                reader.wait()
            ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        entered.wait()
        close(reader)
        assert ended.wait(PATIENCE)
        thread.join()


def test_a_signal_is_dealt_with_while_it_waits(topic: Topic) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with topic.reader() as reader:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Alarm):
                reader.wait(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- use -------------------------------------------------------------------------------------------------------------


def test_after_its_close_a_reader_says_so(topic: Topic) -> None:
    reader = topic.reader()
    reader.close()
    reader.close()
    for call in (reader.read, reader.wait, reader.fileno):
        with pytest.raises(MisuseError, match="closed"):
            call()


def test_after_the_engines_close_a_reader_says_so(rig: Rig, topic: Topic) -> None:
    topic.publish(b"x")
    reader = topic.reader()
    topic.publish(b"x")
    rig.engine.close()
    with pytest.raises(EngineClosed):
        reader.read()
    with pytest.raises(EngineClosed):
        topic.reader()
    assert rig.engine.stats()["memory_bytes"] == 0
    reader.close()


def test_its_token_names_no_connection(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic, DUPLEX)
    with topic.reader(ready=ReadyQueue(rig.engine)) as reader:
        rig.engine.abort(reader.token)
        rig.engine.resume(reader.token)
        topic.publish(b"x")
        peer.expect(frame(b"x"))
        assert reader.read() == [(1, b"x")]


def test_nothing_is_read_with_a_limit_of_nothing(topic: Topic) -> None:
    with topic.reader() as reader, pytest.raises(MisuseError, match="limit=0"):
        reader.read(0)


def test_it_outlives_the_topic_and_engine_that_the_program_lets_go_of(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    reader = rig.engine.topic("/kept").reader()
    rig.engine.sweep_topics(0, 0)
    gc.collect()
    topic = rig.engine.topic("/kept")
    topic.publish(b"x")
    assert reader.topic is topic and reader.read() == [(1, b"x")]
    reader.close()

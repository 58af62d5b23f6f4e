"""Many threads publish, attach and order while one turns: one order for all, and nobody is forgotten."""

import itertools
import random
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from fastfan import SUBSCRIBER, EngineClosed, EventKind, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import BINARY, TEXT, frame, parse
from tests.support.sockets import unix_pair


@pytest.fixture(autouse=True)
def hasty_switches() -> Iterator[None]:
    """Threads change places every few microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/threads")


class Crew:
    """Threads that run together; what one raises is raised in join()."""

    def __init__(self, *works: Callable[[], None]) -> None:
        self.errors: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(work,)) for work in works]
        for thread in self.threads:
            thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.errors.append(error)

    def working(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def join(self) -> None:
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


def frames_of(peer: Peer, count: int) -> list[tuple[int, bytes]]:
    """The next `count` frames, and nothing behind them."""

    def complete() -> bool:
        peer.drain()
        return len(parse(peer.got)[0]) >= count

    peer.rig.until(complete)
    frames, rest = parse(peer.take())
    assert (len(frames), rest) == (count, b"")
    return frames


def payloads_of(peer: Peer, count: int) -> list[bytes]:
    return [payload for _, payload in frames_of(peer, count)]


def drive(rig: Rig) -> None:
    """A turn, where turns are needed, without taking events."""
    if not rig.engine.io_threads:
        rig.engine.turn()


def turn_while(rig: Rig, crew: Crew, *, each: Callable[[], object] = lambda: None) -> None:
    while crew.working():
        rig.turn_if_ready(0.001)
        each()
    crew.join()
    rig.settle()


def test_every_subscriber_sees_one_order_and_each_thread_its_own(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(3)] + [rig.connect_slow(topic)]
    threads, each = 4, 1500
    offsets: dict[bytes, int] = {}

    def publish(name: int) -> None:
        for number in range(each):
            payload = f"{name} {number} ".encode() + b"." * (number % 300)
            offsets[payload] = topic.publish(payload)

    crew = Crew(*(lambda name=name: publish(name) for name in range(threads)))
    turn_while(rig, crew, each=lambda: [peer.drain() for peer in peers])
    first, *others = [payloads_of(peer, threads * each) for peer in peers]
    for other in others:
        same = other == first
        assert same
    for name in range(threads):
        numbers = [int(payload.split()[1]) for payload in first if payload.startswith(f"{name} ".encode())]
        assert numbers == list(range(each))
    assert [offsets[payload] for payload in first] == list(range(1, threads * each + 1))
    assert rig.memory_bytes == 0


def test_batches_and_pieces_of_several_threads_are_not_torn_apart(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)

    def publish_batches(name: int) -> None:
        for number in range(200):
            last = topic.publish_many([f"{name} {number} {part}" for part in range(10)])
            assert last >= 10

    def publish_pieces() -> None:
        for number in range(100):
            partial = topic.partial()
            for _ in range(4):
                partial.extend(bytes([number]) * (number * 700))
            partial.publish()

    crew = Crew(lambda: publish_batches(1), publish_pieces, lambda: publish_batches(2), publish_pieces)
    turn_while(rig, crew, each=peer.drain)
    frames = frames_of(peer, 2 * 200 * 10 + 2 * 100)
    assert all(len(set(payload)) <= 1 for opcode, payload in frames if opcode == BINARY)
    texts = [payload.decode() for opcode, payload in frames if opcode == TEXT]
    groups = itertools.groupby(texts, key=lambda text: text.rsplit(" ", 1)[0])
    assert sum(1 for _ in groups) <= 2 * 200
    for name in ("1", "2"):
        own = [text for text in texts if text.startswith(name)]
        assert own == [f"{name} {number} {part}" for number in range(200) for part in range(10)]


def test_offsets_hold_for_those_who_attach_while_others_publish(rig: Rig, topic: Topic) -> None:
    witness = rig.connect(topic)
    count = itertools.count(1)

    def publish() -> None:
        for _ in range(3000):
            topic.publish(f"message {next(count)}")

    crew = Crew(publish, publish)
    late: list[Peer] = []
    while crew.working() and len(late) < 200:
        peer, fd = rig.attach(topic)
        late.append(peer)
        rig.turn()
        rig.engine.start(peer.token, fd)
        for other in (witness, *late):
            other.drain()
    turn_while(rig, crew, each=witness.drain)
    everything = payloads_of(witness, topic.next_offset - 1)
    for peer in late:
        same = payloads_of(peer, topic.next_offset - peer.offset) == everything[peer.offset - 1 :]
        assert same


def test_a_message_published_while_a_subscriber_starts_is_not_forgotten(rig: Rig) -> None:
    """Nothing but the one message wakes the loop: were it missed, it would lie there for ever."""
    for number in range(300):
        topic = rig.engine.topic(f"/{number}")
        peer, fd = rig.attach(topic)
        rig.engine.start(peer.token, fd)
        crew = Crew(lambda topic=topic: topic.publish("now") and None)  # type: ignore[misc]
        turn_while(rig, crew)
        peer.expect(frame("now"))
        rig.engine.abort(peer.token)
    rig.settle()


def test_a_publisher_in_another_thread_wakes_a_loop_that_sleeps(rig: Rig, topic: Topic) -> None:
    peer = rig.connect(topic)
    answered = threading.Event()

    def publish() -> None:
        for number in range(300):
            topic.publish(f"{number}")
            assert answered.wait(10), f"message {number} never arrived"
            answered.clear()

    crew = Crew(publish)
    arrived = 0
    while arrived < 300:
        rig.turn_if_ready(0.001 if rig.engine.io_threads else 0.2)
        peer.drain()
        if new := len(parse(peer.take())[0]):
            arrived += new
            answered.set()
    crew.join()


def test_orders_from_many_threads_are_all_carried_out(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(40)]

    def order(own: list[Peer]) -> None:
        for peer in own:
            for _ in range(50):
                rig.engine.send(peer.token, b"\x8a\x00")
                rig.engine.resume(peer.token)
            rig.engine.end(peer.token, b"\x88\x00", after_log=True)

    crew = Crew(*(lambda own=peers[part::4]: order(own) for part in range(4)))
    turn_while(rig, crew)
    for peer in peers:
        peer.expect(b"\x8a\x00" * 50 + b"\x88\x00")


def test_connections_come_and_go_in_other_threads(rig: Rig, topic: Topic) -> None:
    def churn(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(200):
            ours, theirs = unix_pair()
            token, _, offset = rig.engine.attach(topic, role=SUBSCRIBER)
            assert offset >= 1
            if chance.random() < 0.3:
                rig.engine.abort(token)
                ours.close()
            else:
                rig.engine.start(token, ours.detach(), b"HEAD")
                topic.publish(bytes(chance.randrange(3000)))
                if chance.random() < 0.5:
                    rig.engine.abort(token)
            theirs.close()

    crew = Crew(*(lambda seed=seed: churn(seed) for seed in range(3)))
    turn_while(rig, crew)
    rig.until(lambda: rig.connections == 0)
    assert (rig.memory_bytes, topic.clients, topic.subscribers) == (0, 0, 0)


def test_a_topic_may_be_forgotten_the_moment_its_last_client_is_counted_out(rig: Rig) -> None:
    """For sanitizers: nothing of the engine's looks at a topic that sweep_topics() has freed."""
    stop = threading.Event()

    def forget() -> None:
        while not stop.is_set():
            rig.engine.sweep_topics(0.0, 0)

    def publish() -> None:
        while not stop.is_set():
            rig.engine.topic("/0").publish(b"to whoever is there")

    def churn() -> None:
        for number in range(300):
            ours, theirs = unix_pair()
            token = rig.engine.attach(rig.engine.topic(f"/{number % 3}"), role=SUBSCRIBER).token
            rig.engine.start(token, ours.detach())
            theirs.close()
        stop.set()

    crew = Crew(forget, publish, churn)
    turn_while(rig, crew)
    rig.until(lambda: rig.connections == 0)
    rig.engine.sweep_topics(0.0, 0)
    assert (rig.memory_bytes, rig.engine.topics_kept()) == (0, [])


def test_events_may_be_taken_in_another_thread(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(100)]
    taken: list[tuple[int, int]] = []
    stop = threading.Event()

    def take() -> None:
        while not stop.is_set() or len(taken) < len(peers):
            taken.extend((kind, token) for kind, token, _, _, _ in rig.engine.take_events(limit=3))

    crew = Crew(take)
    for peer in peers:
        peer.close()
        drive(rig)
    stop.set()
    while crew.working():
        drive(rig)
    crew.join()
    assert sorted(taken) == sorted((EventKind.DEPARTED, peer.token) for peer in peers)


def test_closing_while_others_publish_stops_them_with_engine_closed(make_rig: Callable[..., Rig]) -> None:
    for _ in range(10):
        rig = make_rig()
        topic = rig.engine.topic("/closing")
        peers = [rig.connect(topic) for _ in range(5)]

        def publish(topic: Topic = topic) -> None:
            with pytest.raises(EngineClosed):
                while True:
                    topic.publish(b"x" * 500)

        crew = Crew(publish, publish)
        for _ in range(10):
            drive(rig)
            for peer in peers:
                peer.drain(1 << 16)  # there may always be more, and each read waits for the GIL
        rig.engine.close()
        crew.join()
        assert rig.memory_bytes == 0


def test_looking_at_topics_and_stats_meanwhile_is_harmless(rig: Rig, topic: Topic) -> None:
    peers = [rig.connect(topic) for _ in range(5)]
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            assert topic.log_bytes >= 0
            assert topic.next_offset >= 1
            assert (topic.paced, topic.subscribers, topic.clients) == (False, 5, 5)
            assert rig.engine.stats()["connections"] == 5
            assert rig.engine.roomy
            rig.engine.sweep_topics(0.0, 0)
            rig.engine.topics_kept()

    def publish() -> None:
        for number in range(2000):
            topic.publish(bytes(number))
        stop.set()

    crew = Crew(look, publish)
    turn_while(rig, crew, each=lambda: [peer.drain() for peer in peers])
    for peer in peers:
        assert len(payloads_of(peer, 2000)) == 2000

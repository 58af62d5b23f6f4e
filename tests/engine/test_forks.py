"""A child that is forked while an engine is open: the engine stays its parent's, and nothing the child does matters."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest

from fastfan import PUBLISHER, SUBSCRIBER, Engine, EngineClosed, ReadyQueue, Topic
from tests.support.engine import PATIENCE, Peer, Rig
from tests.support.frames import frame
from tests.support.sockets import tcp_pair

# From 3.12 on Python warns of a fork beside threads; that is what these tests are about.
pytestmark = [pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"), pytest.mark.forks]

LONGEST = 30  # seconds a child may live


class Child:
    """A forked child that does its work, says what came of it, and lives until it is let go."""

    def __init__(self, work: Callable[[], object]) -> None:
        said, self._say = os.pipe()
        self._wait, self._let_go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(work)
        os.close(self._say)
        os.close(self._wait)
        self._said = said

    def _live(self, work: Callable[[], object]) -> None:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LONGEST)
            os.close(self._let_go)
            text = str(work())
            code = 0
        except BaseException:
            text = traceback.format_exc()
        try:
            os.write(self._say, text.encode() + b"\n")
            os.read(self._wait, 1)
        finally:
            os._exit(code)

    def says(self) -> str:
        text = b""
        while not text.endswith(b"\n"):
            more = os.read(self._said, 65536)
            assert more, "the child died, or its time was over"
            text += more
        return text.decode().strip()

    def end(self) -> int:
        os.write(self._let_go, b"x")  # closing it would not do: children forked later have copies
        os.close(self._let_go)
        os.close(self._said)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture(params=[0, 2], ids=["hosted", "threads"])
def rig(request: pytest.FixtureRequest, make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(io_threads=request.param, lane_bytes=65536)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/forked")


@pytest.fixture
def forked() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def fork(work: Callable[[], object]) -> Child:
        children.append(Child(work))
        return children[-1]

    yield fork
    for child in children:
        assert child.end() == 0


def pass_on(rig: Rig, publisher: Peer, subscriber: Peer, payload: bytes) -> None:
    """From one client by the engine to the other."""
    publisher.send(bytes([0x82, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
    assert subscriber.read(2 + len(payload)) == frame(payload)


def refusals(*calls: Callable[[], object]) -> list[str]:
    """What each of them raises, by name."""
    told = []
    for call in calls:
        try:
            told.append(f"gave {call()!r}")
        except EngineClosed as error:
            told.append("refused" if "forked" in str(error) else str(error))
    return told


def test_connections_live_on_in_the_parent(rig: Rig, topic: Topic, forked: Callable[..., Child]) -> None:
    publisher, subscriber = rig.connect(topic, PUBLISHER), rig.connect(topic)
    pass_on(rig, publisher, subscriber, b"before")
    child = forked(lambda: "alive")
    assert child.says() == "alive"
    pass_on(rig, publisher, subscriber, b"beside it")
    topic.publish(b"from here")
    subscriber.expect(frame(b"from here"))
    assert rig.connections == 2


def test_the_childs_calls_are_refused_and_none_hangs(rig: Rig, topic: Topic, forked: Callable[..., Child]) -> None:
    engine, peer, partial = rig.engine, rig.connect(topic), topic.partial()
    queue = ReadyQueue(engine)
    reader = topic.reader(ready=queue)
    partial.extend(b"x")
    topic.publish(b"x")

    def work() -> list[str]:
        calls = [
            lambda: engine.topic("/other"),
            lambda: engine.attach(topic, role=SUBSCRIBER),
            lambda: engine.start(peer.token, 0),
            lambda: engine.send(peer.token, b""),
            lambda: engine.end(peer.token),
            lambda: engine.abort(peer.token),
            lambda: engine.beat(1, 1, 1),
            engine.events_fileno,
            engine.want_room,
            lambda: engine.wait_at_rest(1),
            lambda: engine.sweep_topics(0, 0),
            lambda: topic.publish(b"x"),
            lambda: topic.publish_many([b"x", b"y"]),
            lambda: partial.extend(b"y"),
            partial.publish,
            topic.reader,
            reader.read,
            reader.wait,
            reader.fileno,
            queue.fileno,
            lambda: ReadyQueue(engine),
        ]
        told = refusals(*calls)
        assert told == ["refused"] * len(calls), told
        assert engine.take_events() == [] and queue.take() == []
        assert engine.stats()["connections"] >= 1
        assert (topic.log_bytes, reader.lag_bytes) == (0, 0)
        reader.close()
        engine.close()
        return [repr(topic), repr(reader)]

    assert "Traceback" not in forked(work).says()
    assert reader.read() == [(1, b"x")]
    reader.close()
    assert partial.publish() == 2
    peer.expect(frame(b"x"), frame(b"x"))


def test_what_the_child_drops_is_still_there_in_the_parent(
    rig: Rig, topic: Topic, forked: Callable[..., Child]
) -> None:
    peer, readers, partials = rig.connect(topic), [topic.reader()], [topic.partial()]
    readers[0].fileno()
    partials[0].extend(bytes(100_000))

    def drop() -> str:
        readers.clear()
        partials.clear()
        rig.peers.clear()
        del rig.engine
        gc.collect()
        return "dropped"

    assert forked(drop).says() == "dropped"
    topic.publish(b"x")
    peer.expect(frame(b"x"))
    assert readers[0].wait(PATIENCE) and readers[0].read() == [(1, b"x")]
    readers.clear()


def test_closing_in_the_parent_ends_the_streams_while_the_child_lives(
    rig: Rig, topic: Topic, forked: Callable[..., Child]
) -> None:
    peers = [rig.connect(topic) for _ in range(5)]
    child = forked(lambda: "alive")
    assert child.says() == "alive"
    rig.engine.close()
    for peer in peers:
        # Not by way of the rig: there is no engine any more.
        peer.socket.setblocking(True)
        peer.socket.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            assert peer.socket.recv(1) == b""
    os.kill(child.pid, 0)  # it lives


def test_one_that_is_on_its_way_in_is_the_parents_too(topic: Topic, rig: Rig, forked: Callable[..., Child]) -> None:
    # With io_threads=0 nobody has taken the order to start it yet.
    ours, theirs = tcp_pair()
    token = rig.engine.attach(topic, role=SUBSCRIBER).token
    rig.engine.start(token, ours.detach())
    child = forked(lambda: "alive")
    assert child.says() == "alive"
    rig.engine.abort(token)
    rig.settle()
    theirs.settimeout(PATIENCE)
    with theirs, pytest.raises(ConnectionResetError):
        theirs.recv(1)
    os.kill(child.pid, 0)  # it lives


def test_a_child_makes_an_engine_of_its_own(rig: Rig, topic: Topic, forked: Callable[..., Child]) -> None:
    peer = rig.connect(topic)

    def work() -> str:
        engine = Engine(io_threads=1)
        with engine.topic("/own").reader() as reader:
            engine.topic("/own").publish(b"own")
            assert reader.wait(PATIENCE) and reader.read() == [(1, b"own")]
        assert engine.wait_at_rest(PATIENCE)
        engine.close()
        return "made"

    assert forked(work).says() == "made"
    topic.publish(b"x")
    peer.expect(frame(b"x"))


def test_forks_in_the_middle_of_everything_hang_nobody(rig: Rig, topic: Topic, forked: Callable[..., Child]) -> None:
    """Locks are held at any moment when threads publish and read: the child must not wait for one."""
    peer, reader = rig.connect(topic), topic.reader()
    stopped = threading.Event()

    def publish() -> None:
        while not stopped.is_set():
            if topic.log_bytes < 1 << 20:
                topic.publish_many([bytes(100)] * 50)

    def work() -> str:
        topic_calls = refusals(lambda: topic.publish(b"x"), reader.read, lambda: rig.engine.attach(topic, role=1))
        assert topic_calls == ["refused"] * 3, topic_calls
        rig.engine.take_events()
        rig.engine.stats()
        return "done"

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            rig.turn_if_ready()
            peer.drain()
            peer.take()
            reader.read()
            assert forked(work).says() == "done"
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    deadline = time.monotonic() + PATIENCE
    while reader.read() and time.monotonic() < deadline:
        continue
    assert topic.publish(b"last") == reader.offset
    reader.close()


PROGRAM = """
import os, signal, socket, sys
signal.alarm(20)
import fastfan
engine = fastfan.Engine()
topic = engine.topic("/a")
ours, theirs = socket.socketpair()
engine.start(engine.attach(topic, role=fastfan.SUBSCRIBER).token, ours.detach())
reader = topic.reader()
for _ in range(3):
    if os.fork() == 0:
        sys.exit(0)     # all that Python does at its end, with engine, topic and reader still there
    assert os.wait()[1] == 0
    topic.publish(b"x")
    assert theirs.recv(3, socket.MSG_WAITALL) == bytes([0x82, 1]) + b"x"
print(len(reader.read()))
"""


def test_a_child_that_ends_as_programs_do_harms_nothing() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 3)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")

"""Engines with threads of their own: Python may hold the GIL, signals are Python's, and nothing is left of them."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Engine
from tests.support.engine import Peer, Rig
from tests.support.frames import frame, parse
from tests.support.rawclient import frame as client_frame
from tests.support.sockets import unix_pair

# Sends a message and waits until it comes out of the other connection, many times; its alarm ends it where none comes.
THERE_AND_BACK = """
import signal, socket, sys
signal.alarm(20)
publisher, subscriber = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
for end in (publisher, subscriber):
    end.setblocking(True)
for number in range(200):
    payload = b"message %5d" % number
    publisher.sendall(bytes([0x82, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
    expected, got = bytes([0x82, len(payload)]) + payload, b""
    while len(got) < len(expected):
        got += subscriber.recv(len(expected) - len(got))
    assert got == expected, got
"""


def threads_of_ours() -> list[Path]:
    """The engine's own, once they have begun; a sanitizer may have some too."""
    return [task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text() == "fastfan-io\n"]


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(io_threads=2, lane_bytes=65536)


def test_messages_are_delivered_while_python_holds_the_gil(rig: Rig) -> None:
    topic = rig.engine.topic("/held")
    ends = []
    for role in (PUBLISHER, SUBSCRIBER):
        ours, theirs = unix_pair()
        rig.engine.start(rig.engine.attach(topic, role=role).token, ours.detach())
        ends.append(theirs)
    numbers = [end.fileno() for end in ends]
    child = subprocess.Popen([sys.executable, "-c", THERE_AND_BACK, *map(str, numbers)], pass_fds=numbers)
    status = ctypes.c_int()
    # PyDLL keeps the GIL for as long as the call takes: until the child is through, or its alarm has ended it.
    assert ctypes.PyDLL(None).waitpid(child.pid, ctypes.byref(status), 0) == child.pid
    child.returncode = os.waitstatus_to_exitcode(status.value)
    assert child.returncode == 0
    for end in ends:
        end.close()


def test_the_threads_take_no_signal_but_faults_of_their_own(rig: Rig) -> None:
    rig.settle()  # they have begun
    tasks = threads_of_ours()
    assert len(tasks) == 2
    for task in tasks:
        lines = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        blocked = int(lines["SigBlk"], 16)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE):
            assert blocked >> (number - 1) & 1, number
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
            assert not blocked >> (number - 1) & 1, number


def test_connections_are_spread_over_the_threads(rig: Rig) -> None:
    topic = rig.engine.topic("/spread")
    peers = [rig.connect(topic, DUPLEX) for _ in range(10)]
    assert sorted(peer.token >> 24 & 0xFF for peer in peers) == [0] * 5 + [1] * 5
    topic.publish(b"for all")
    for peer in peers:
        peer.expect(frame(b"for all"))


def test_there_is_one_order_whichever_threads_the_publishers_are_on(rig: Rig) -> None:
    topic, each = rig.engine.topic("/order"), 2000
    publishers = [rig.connect(topic, PUBLISHER) for _ in range(4)]
    readers = [rig.connect(topic) for _ in range(6)]

    def publish_by_socket(peer: Peer, name: int) -> None:
        for number in range(0, each, 20):
            peer.send(b"".join(client_frame(b"%d %d" % (name, one)) for one in range(number, number + 20)))

    def publish_here() -> None:
        for number in range(each):
            topic.publish(b"here %d" % number)

    works = [lambda peer=peer, name=name: publish_by_socket(peer, name) for name, peer in enumerate(publishers)]
    threads = [threading.Thread(target=work) for work in (*works, publish_here)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rig.until(lambda: topic.next_offset > 5 * each)

    def all_have_all() -> bool:
        for reader in readers:
            reader.drain()
        return all(len(parse(reader.got)[0]) == 5 * each for reader in readers)

    rig.until(all_have_all)  # a socket holds some hundred small writes, until it is read
    order, *others = [[payload for _, payload in parse(reader.take())[0]] for reader in readers]
    for other in others:
        same = other == order
        assert same
    for name in (b"0", b"1", b"2", b"3", b"here"):
        numbers = [int(payload.split()[1]) for payload in order if payload.split()[0] == name]
        assert numbers == list(range(each))


@pytest.mark.parametrize("end", [Engine.close, lambda engine: None], ids=["closed", "dropped"])
def test_the_threads_end_with_the_engine(end: Callable[[Engine], None]) -> None:
    before = len(threads_of_ours())
    engine = Engine(io_threads=3)
    assert engine.wait_at_rest(10.0)
    assert len(threads_of_ours()) == before + 3
    end(engine)
    del engine
    assert len(threads_of_ours()) == before


@pytest.mark.parametrize("method", ["turn", "work_fileno"])
def test_an_engine_with_threads_needs_no_turns(rig: Rig, method: str) -> None:
    with pytest.raises(Exception, match=r"is for io_threads=0; this engine has io_threads=2, which need no turns"):
        getattr(rig.engine, method)()


def test_a_process_that_ends_with_threads_in_full_flight_ends_well() -> None:
    code = """
import socket, sys
from fastfan import *
engine = Engine(io_threads=2)
topic = engine.topic("/a")
ends = []
for role in (1, 2, 3, 2):
    ours, theirs = socket.socketpair()
    engine.start(engine.attach(topic, role=role)[0], ours.detach(), b"HEAD", b"left")
    ends.append(theirs)
for number in range(1000):
    topic.publish(bytes(10000))
sys.host = [engine, topic]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

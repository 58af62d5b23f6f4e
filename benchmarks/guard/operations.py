"""How many instructions does the engine need for what it does most?

This is the program that runs under callgrind: it does each operation on real sockets, in rounds, and marks with
`marks.c` which part of a round is counted. It is of no use by itself; ``python -m benchmarks.guard`` runs it.

What would make it lie:

- System calls cost nothing here, as the kernel's instructions are not counted: neither one call more nor what the
  kernel does in it shows. `make bench ARGS=flood-small` has the whole cost.
- An instruction is not a nanosecond: a missed cache, a lock that is fought for, a division count like an addition.
- Time stands still (marks.c), and nothing else runs: no tick, one slice for each pass, no contention.
- The C library takes its plain x86-64 routines (counting.py), so that the CPU does not decide, nor valgrind, which
  shows a program less of the CPU than there is. A real memcpy() takes fewer instructions. For the same reason
  malloc() has more blocks at hand than usual, and what it does when it has none shows too little.
- The time of day costs a few instructions here (marks.c) and some 20 ns on a machine: one look more at the clock for
  each delivery shows as 4 %.
"""

import ctypes
import gc
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from fastfan import PUBLISHER, SUBSCRIBER, Engine, EventKind, Topic

__all__ = ["NOTHING", "OPERATIONS", "WARM_UP", "Operation"]

WARM_UPS: Final = 2  # rounds that fill pools and free lists and let the interpreter specialize, not counted
ROUNDS: Final = 5
NOTHING: Final = "nothing"  # begin and end alone: what the marks cost, taken off everything else
WARM_UP: Final = "warm-up"

MEMORY_BYTES: Final = 1 << 30  # a limit that does not depend on the machine
BUDGET: Final = 60.0  # seconds for a turn; time stands still, so any turn does all its work
PING_INTERVAL, PONG_DEADLINE, LONGEST_STEP = 20.0, 10.0, 2.0
CLOSE_FRAME: Final = b"\x88\x02\x03\xe8"  # RFC 6455 section 5.5.1: code 1000
UPGRADED: Final = b"HTTP/1.1 101 Switching Protocols\r\n" + b"x-header: of a usual size\r\n" * 4 + b"\r\n"


# -- Marks ---------------------------------------------------------------------------------------------------------


class Marks:
    """The functions of marks.c, which is preloaded; they keep the GIL, because giving it up would be counted."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None)
        self.start: Callable[[], None] = _declared(library.guard_start)
        self.begin: Callable[[], None] = _declared(library.guard_begin)
        self.end: Callable[[], None] = _declared(library.guard_end)
        self.note: Callable[[bytes], None] = _declared(library.guard_note, ctypes.c_char_p)


def _declared(function: Callable[..., None], *arguments: type) -> Callable[..., None]:
    function.argtypes, function.restype = arguments, None  # type: ignore[attr-defined]
    return function


Rounds = Generator[None, None, None]  # one round for each next()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Rounds of it, how many times a round does it, and between how many pairs of marks."""

    rounds: Callable[[Marks], Rounds]
    times: int
    marked: int = 1


# -- Engines and their peers ---------------------------------------------------------------------------------------


def make_engine() -> closing[Engine]:
    return closing(Engine(io_threads=0, max_memory_bytes=MEMORY_BYTES))


def make_pairs(count: int) -> tuple[list[int], list[socket.socket]]:
    """Descriptors for the engine, and the peers' sockets."""
    descriptors, peers = [], []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        descriptors.append(ours.detach())
        peers.append(theirs)
    return descriptors, peers


def connect(engine: Engine, topic: Topic, count: int, role: int = SUBSCRIBER) -> tuple[list[int], list[socket.socket]]:
    """Tokens and peers of connections that are open."""
    descriptors, peers = make_pairs(count)
    tokens = [engine.attach(topic, role=role).token for _ in descriptors]
    for token, descriptor in zip(tokens, descriptors, strict=True):
        engine.start(token, descriptor)
    engine.turn(BUDGET)
    return tokens, peers


def drain(peers: list[socket.socket]) -> None:
    for peer in peers:
        peer.recv(1 << 18)


def hang_up(peers: list[socket.socket]) -> None:
    for peer in peers:
        peer.close()


def expect(wanted: int, got: int, what: str) -> None:
    """A count of something else than what its name says would be worth nothing."""
    if wanted != got:
        raise SystemExit(f"operations.py: {got} {what} where {wanted} were expected")


# -- Operations ----------------------------------------------------------------------------------------------------


def nothing(marks: Marks) -> Rounds:
    while True:
        marks.begin()
        marks.end()
        yield


def publish(payload_bytes: int, times: int) -> Operation:
    """Messages one by one, kept for a subscriber; a round begins with an empty log and takes new segments."""
    payload = bytes(payload_bytes)

    def rounds(marks: Marks) -> Rounds:
        with make_engine() as engine:
            topic = engine.topic("/guard")
            while True:
                reader = engine.attach(topic, role=SUBSCRIBER).token
                marks.begin()
                for _ in range(times):
                    topic.publish(payload)
                marks.end()
                engine.abort(reader)
                engine.turn(BUDGET)
                expect(0, topic.log_bytes, "bytes left in the log")
                yield

    return Operation(rounds=rounds, times=times)


def publish_many(payload_bytes: int, batch: int, times: int) -> Operation:
    messages = [bytes(payload_bytes)] * batch

    def rounds(marks: Marks) -> Rounds:
        with make_engine() as engine:
            topic = engine.topic("/guard")
            while True:
                reader = engine.attach(topic, role=SUBSCRIBER).token
                marks.begin()
                for _ in range(times):
                    topic.publish_many(messages)
                marks.end()
                engine.abort(reader)
                engine.turn(BUDGET)
                yield

    return Operation(rounds=rounds, times=times)


def deliver(payload_bytes: int, batch: int, subscribers: int) -> Operation:
    """One turn that sends each subscriber all of the batch; a delivery is what one subscriber gets, in one call."""
    messages = [bytes(payload_bytes)] * batch

    def rounds(marks: Marks) -> Rounds:
        with make_engine() as engine:
            topic = engine.topic("/guard")
            _, peers = connect(engine, topic, subscribers)
            while True:
                topic.publish_many(messages)
                before = engine.stats()["sent_bytes"]
                marks.begin()
                engine.turn(BUDGET)
                marks.end()
                sent = engine.stats()["sent_bytes"] - before
                expect(subscribers * batch * (payload_bytes + 4), sent, "bytes sent")
                drain(peers)
                engine.turn(BUDGET)
                yield

    return Operation(rounds=rounds, times=subscribers)


def come_and_go(connections: int) -> Operation:
    """From attach() to the departure of who hangs up."""

    def rounds(marks: Marks) -> Rounds:
        with make_engine() as engine:
            topic = engine.topic("/guard")
            while True:
                descriptors, peers = make_pairs(connections)
                marks.begin()
                for descriptor in descriptors:
                    engine.start(engine.attach(topic, role=SUBSCRIBER).token, descriptor, UPGRADED)
                engine.turn(BUDGET)
                marks.end()
                drain(peers)
                hang_up(peers)
                marks.begin()
                engine.turn(BUDGET)
                departures = engine.take_events()
                marks.end()
                expect(connections, len(departures), "departures")
                yield

    return Operation(rounds=rounds, times=connections, marked=2)


def beat(connections: int) -> Operation:
    """A beat at which no ping is due."""

    def rounds(marks: Marks) -> Rounds:
        with make_engine() as engine:
            _, peers = connect(engine, engine.topic("/guard"), connections)
            while True:
                marks.begin()
                engine.beat(PING_INTERVAL, PONG_DEADLINE, LONGEST_STEP)
                engine.turn(BUDGET)
                marks.end()
                expect(0, engine.stats()["pings"], "pings")
                expect(connections, len(peers), "connections")
                yield

    return Operation(rounds=rounds, times=connections)


def receive(payload_bytes: int, connections: int) -> Operation:
    """From a readable socket to the event that lends the chunk, and giving it back."""
    chunk = bytes(payload_bytes)

    def rounds(marks: Marks) -> Rounds:
        with closing(Engine(io_threads=0, max_memory_bytes=MEMORY_BYTES, lane_bytes=0)) as engine:
            _, peers = connect(engine, engine.topic("/guard"), connections, PUBLISHER)
            while True:
                for peer in peers:
                    peer.send(chunk)
                marks.begin()
                engine.turn(BUDGET)
                events = engine.take_events()
                for event in events:
                    engine.resume(event[1])
                engine.turn(BUDGET)
                marks.end()
                expect(connections, sum(event[4] == chunk for event in events), "chunks")
                yield

    return Operation(rounds=rounds, times=connections)


def lane(payload_bytes: int, batch: int) -> Operation:
    """A publisher's messages from its socket into the log, kept for a subscriber."""
    head = b"\x82" + bytes([0x80 | 126]) + payload_bytes.to_bytes(2, "big") + b"mask"  # RFC 6455 section 5.2
    stream = (head + bytes(payload_bytes)) * batch

    def rounds(marks: Marks) -> Rounds:
        with make_engine() as engine:
            topic = engine.topic("/guard")
            _, peers = connect(engine, topic, 1, PUBLISHER)
            while True:
                reader = engine.attach(topic, role=SUBSCRIBER).token
                before = engine.stats()["messages"]
                peers[0].send(stream)
                marks.begin()
                engine.turn(BUDGET)
                marks.end()
                expect(batch, engine.stats()["messages"] - before, "messages")
                engine.abort(reader)
                engine.turn(BUDGET)
                yield

    return Operation(rounds=rounds, times=batch)


def close(connections: int) -> Operation:
    """From end(), with the peer's Close seen already, to the departure."""

    def rounds(marks: Marks) -> Rounds:
        with make_engine() as engine:
            topic = engine.topic("/guard")
            while True:
                tokens, peers = connect(engine, topic, connections)
                marks.begin()
                for token in tokens:
                    engine.end(token, CLOSE_FRAME, discard=True)
                engine.turn(BUDGET)
                marks.end()
                drain(peers)
                hang_up(peers)
                marks.begin()
                engine.turn(BUDGET)
                events = engine.take_events()
                marks.end()
                expect(connections, sum(event[0] == EventKind.DEPARTED for event in events), "departures")
                yield

    return Operation(rounds=rounds, times=connections, marked=2)


# What an operation is, and how often a round does it; a name is a key in baseline.json.
OPERATIONS: Final[dict[str, Operation]] = {
    NOTHING: Operation(rounds=nothing, times=1),
    "publish 128 B": publish(128, times=300),
    "publish 64 KiB": publish(65536, times=20),
    "publish a batch of 64 x 128 B": publish_many(128, batch=64, times=8),
    "deliver 1 x 128 B, to each of 100": deliver(128, batch=1, subscribers=100),
    "deliver 64 x 128 B, to each of 100": deliver(128, batch=64, subscribers=100),
    "receive, lend and take back 512 B": receive(512, connections=50),
    "take by the lane 128 B, each of 64": lane(128, batch=64),
    "attach, start, hang up": come_and_go(50),
    "close": close(50),
    "beat, each of 1,000 idle": beat(1000),
}


def main(names: list[str]) -> None:
    marks = Marks()
    gc.disable()
    marks.start()
    for name in names:
        with closing(OPERATIONS[name].rounds(marks)) as rounds:
            for number in range(WARM_UPS + ROUNDS):
                next(rounds)
                marks.note((WARM_UP if number < WARM_UPS else name).encode())


if __name__ == "__main__":
    main(sys.argv[1:] or list(OPERATIONS))

"""Driving an engine by hand: peers on real sockets, turns in bounded loops, and what the frames must look like.

A test never sleeps: `Rig.until()` turns the engine and waits on its descriptor, for a bounded time, until what the test
is about has happened. With FASTFAN_IO_THREADS=2 in the environment the same tests run on an engine with I/O threads,
where a turn is no more than a look at what came of it; tests marked `hosted` are about turns, and are left out.
"""

import os
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from fastfan import SUBSCRIBER, Engine, EventKind, Topic
from tests.support.frames import frame_bytes
from tests.support.sockets import Pair, readable, unix_pair

__all__ = ["IO_THREADS", "Happening", "Peer", "Rig"]

IO_THREADS = int(os.environ.get("FASTFAN_IO_THREADS", "0"))
PATIENCE = 10.0  # seconds until a wait is a failure; sanitizers and a busy machine are slow

# --- peers -----------------------------------------------------------------------------------------------------------


class Happening(NamedTuple):
    """One event of the engine's, by name."""

    kind: int
    token: int
    detail: int
    extra: int
    data: bytes


class Peer:
    """The far end of one connection, and what it got so far."""

    def __init__(self, rig: "Rig", sock: socket.socket, attached: tuple[int, int, int]) -> None:
        self.rig = rig
        self.socket = sock
        self.token, self.epoch, self.offset = attached
        self.got = bytearray()
        self.ended = False  # the end of the stream was read
        self.reset = False  # ... and it was no orderly one
        self.taken = 0  # bytes its kernel had taken when it was made to be in mid-frame

    def drain(self, most: int = 1 << 30) -> int:
        """Reads what is there, at most that many bytes; how many."""
        taken = 0
        while taken < most and not self.ended:
            try:
                data = self.socket.recv(min(most - taken, 1 << 18))
            except BlockingIOError:
                break
            except ConnectionResetError:
                self.ended = self.reset = True
                break
            self.ended = not data
            self.got += data
            taken += len(data)
        return taken

    def read(self, count: int) -> bytes:
        """Exactly the next `count` bytes, turning the engine for them. They may take long, but never stop coming."""
        self.rig.settle()
        while len(self.got) < count:
            assert not self.ended, f"stream ended after {len(self.got)} of {count} bytes"
            self.rig.until(lambda: self.drain(count - len(self.got)) or self.ended)
        return self.take()[:count]

    def read_to_end(self) -> bytes:
        """All that comes until the stream ends."""

        def at_end() -> bool:
            self.drain()
            return self.ended

        self.rig.until(at_end)
        return self.take()

    def take(self) -> bytes:
        data = bytes(self.got)
        self.got.clear()
        return data

    def expect(self, *frames: bytes) -> None:
        """Reads as many bytes as these have, and they are these; then nothing more is there."""
        wanted = b"".join(frames)
        got = self.read(len(wanted))
        if got != wanted:  # not a bare assert: pytest would diff megabytes
            at = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b), -1)
            raise AssertionError(f"at byte {at}: got {got[at : at + 32]!r}, expected {wanted[at : at + 32]!r}")
        self.expect_nothing()

    def expect_nothing(self) -> None:
        self.rig.settle()
        self.drain()
        assert not self.got, f"unexpected {bytes(self.got[:64])!r}"

    def send(self, data: bytes) -> None:
        self.socket.setblocking(True)
        self.socket.sendall(data)
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()


# --- the rig ---------------------------------------------------------------------------------------------------------


class Rig:
    """An engine, its peers, and every event it has told.

    Without a lane, unless the test says otherwise: most of them are about what is lent. And without limits on what a
    client sends in a second, which is more here than in any second elsewhere.
    """

    def __init__(
        self,
        *,
        max_memory_bytes: int | None = None,
        write_timeout: float = 10.0,
        close_deadline: float = 5.0,
        notsent_bytes: int = 65536,
        lane_bytes: int = 0,
        message_timeout: float = 30.0,
        max_fragments: int = 0,
        max_control_frames: int = 0,
        max_ignored_bytes: int = 0,
        io_threads: int = IO_THREADS,
    ) -> None:
        self.engine = Engine(
            io_threads=io_threads,
            max_memory_bytes=max_memory_bytes,
            write_timeout=write_timeout,
            close_deadline=close_deadline,
            notsent_bytes=notsent_bytes,
            lane_bytes=lane_bytes,
            message_timeout=message_timeout,
            max_fragments=max_fragments,
            max_control_frames=max_control_frames,
            max_ignored_bytes=max_ignored_bytes,
        )
        if not io_threads:
            self.engine.work_fileno()  # as a host does first; what it opens is no leak of a test's
        self.peers: list[Peer] = []
        self.events: list[Happening] = []

    def close(self) -> None:
        self.engine.close()
        for peer in self.peers:
            peer.close()
            del peer.rig  # no cycle, so that the engine goes with the last reference

    # --- connections ---

    def attach(self, topic: Topic, role: int = SUBSCRIBER, pair: Pair | None = None) -> tuple[Peer, int]:
        """A connection that is attached and not started, and the descriptor to start it with."""
        ours, theirs = pair or unix_pair()
        theirs.setblocking(False)
        peer = Peer(self, theirs, self.engine.attach(topic, role=role))
        self.peers.append(peer)
        return peer, ours.detach()

    def connect(
        self,
        topic: Topic,
        role: int = SUBSCRIBER,
        pair: Pair | None = None,
        *,
        head: bytes = b"",
        leftover: bytes = b"",
    ) -> Peer:
        """A connection that is open."""
        peer, fd = self.attach(topic, role, pair)
        self.engine.start(peer.token, fd, head, leftover)
        self.settle()
        return peer

    def connect_slow(self, topic: Topic, role: int = SUBSCRIBER) -> Peer:
        """One whose socket holds as little as the kernel allows."""
        return self.connect(topic, role, unix_pair(send_buffer=0))

    def connect_in_mid_frame(self, topic: Topic, payload: bytes, role: int = SUBSCRIBER) -> Peer:
        """One whose socket is full in the middle of the frame around `payload`, which is published here."""
        peer, before = self.connect_slow(topic, role), self.sent_bytes
        topic.publish(payload)
        self.settle()
        peer.taken = self.sent_bytes - before
        assert 0 < peer.taken < frame_bytes(len(payload)), "payload is too small to fill the socket"
        return peer

    # --- time ---

    def turn(self) -> None:
        if not self.engine.io_threads:
            self.engine.turn()
        self.take_events()

    def take_events(self) -> None:
        self.events += [Happening(*event) for event in self.engine.take_events()]

    def turn_if_ready(self, seconds: float = 0.0) -> bool:
        """A turn if the engine says that it has work, as a host's loop does it; waits that long for it."""
        if self.engine.io_threads:
            told = readable(self.engine.events_fileno(), seconds)
            self.take_events()
            return told
        if not readable(self.engine.work_fileno(), seconds):
            return False
        self.turn()
        return True

    def settle(self) -> None:
        """Turns until the engine has nothing left to do; a busy loop fails."""
        if self.engine.io_threads:
            assert self.engine.wait_at_rest(PATIENCE), "the engine never comes to rest"
        for _ in range(20_000):
            if not self.turn_if_ready():
                return
        raise AssertionError("the engine never comes to rest")

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Turns until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"did not happen within {seconds} s; events: {self.told()}"
            # Short, because a condition may also depend on what peers and other threads do.
            self.turn_if_ready(0.002)

    def watch(self, seconds: float, *, that: Callable[[], object] = lambda: True) -> None:
        """Turns for that long, for what must not happen: `that` holds all the time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn_if_ready(0.005)
            assert that(), f"no longer so; events: {self.told()}"

    # --- what was told ---

    def told(self, last: int = 15) -> list[str]:
        """The last events, for messages."""
        return [f"{EventKind(kind).name} {rest}" for kind, *rest in self.events[-last:]]

    def of(self, peer: Peer, kind: int) -> list[Happening]:
        return [event for event in self.events if event.token == peer.token and event.kind == kind]

    def of_kind(self, kind: int) -> list[Happening]:
        return [event for event in self.events if event.kind == kind]

    def lent(self, peer: Peer) -> bytes:
        """All bytes that the engine lent of this connection."""
        return b"".join(event.data for event in self.of(peer, EventKind.LENT))

    def departed(self, peer: Peer) -> tuple[int, int] | None:
        """(cause, whether our Close was sent) once it is gone; told exactly once and last."""
        departures = self.of(peer, EventKind.DEPARTED)
        if not departures:
            return None
        assert len(departures) == 1
        assert [event for event in self.events if event.token == peer.token][-1] == departures[0]
        return departures[0].detail, departures[0].extra

    def condemned(self, peer: Peer) -> int | None:
        """The cause once the engine wants it closed; told at most once."""
        verdicts = self.of(peer, EventKind.CONDEMNED)
        assert len(verdicts) <= 1
        return verdicts[0].detail if verdicts else None

    def until_departed(self, peer: Peer) -> tuple[int, int]:
        self.until(lambda: self.departed(peer))
        return self.departed(peer) or (0, 0)

    def until_condemned(self, peer: Peer) -> int:
        self.until(lambda: self.condemned(peer))
        return self.condemned(peer) or 0

    # --- numbers ---

    @property
    def memory_bytes(self) -> int:
        return self.engine.stats()["memory_bytes"]

    @property
    def sent_bytes(self) -> int:
        return self.engine.stats()["sent_bytes"]

    @property
    def connections(self) -> int:
        return self.engine.stats()["connections"]

"""Random operations on an engine and on a slow model of it: whatever happens, every stream is what the model says.

A failure names its seed; `FASTFAN_SEED=… pytest tests/engine/test_oracle.py` runs that one alone.
"""

import contextlib
import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, EventKind, Partial, Topic
from tests.engine.model import ModelSubscriber, ModelTopic
from tests.support.engine import Peer, Rig
from tests.support.frames import CLOSE, PING, PONG, frame
from tests.support.sockets import tcp_pair, unix_pair

# FASTFAN_SEED: this one alone. FASTFAN_SEEDS: so many, and a new one; fewer where each takes long, as under sanitizers.
SEEDS: list[int | None] = [*range(int(os.environ.get("FASTFAN_SEEDS", "16"))), None]
if "FASTFAN_SEED" in os.environ:
    SEEDS = [int(os.environ["FASTFAN_SEED"])]
OPERATIONS = 1500
SIZES = [0, 1, 60, 125, 126, 1000, 3900, 4096, 16_100, 65_100, 65_536]
LARGE = [260_950, 261_000, 300_000, 700_000]
ASIDE = 1 << 20


@dataclass
class Connection:
    peer: Peer
    model: ModelSubscriber
    fd: int = -1  # while it is attached and not started
    left: bool = False  # the peer has closed its socket


class Run:
    """One random history. While it is `steady` nobody leaves or is closed before its end."""

    def __init__(self, rig: Rig, seed: int, *, policy: str = "disconnect", steady: bool = False, **bounds: int) -> None:
        self.rig = rig
        self.engine = rig.engine
        self.chance = random.Random(seed)
        self.policy = policy
        self.skips = policy in ("skip", "latest")
        self.topics = [rig.engine.topic(f"/{number}", policy=policy, **bounds) for number in range(2)]
        self.models = [ModelTopic(self.skips) for _ in self.topics]
        self.made = 0  # payloads
        self.partials: list[tuple[int, Partial, bytearray]] = []
        self.connections: list[Connection] = []
        self.steps: list[tuple[Callable[[], None], int]] = [
            (self.attach, 4),
            (self.start, 8),
            (self.publish, 30),
            (self.publish_many, 8),
            (self.piece, 8),
            (self.send_control, 12),
            (self.end, 2),
            (self.abort, 1),
            (self.leave, 1),
            (self.peer_writes, 6),
            (self.peer_reads, 40),
            (self.turn, 40),
        ]
        if steady:
            leaving = {self.end, self.abort, self.leave}
            self.steps = [(step, weight) for step, weight in self.steps if step not in leaving]

    # --- what may happen ---

    def topic(self) -> tuple[Topic, ModelTopic]:
        which = self.chance.randrange(len(self.topics))
        return self.topics[which], self.models[which]

    def payload(self) -> bytes | str:
        size = self.chance.choice(LARGE) if self.chance.random() < 0.02 else self.chance.choice(SIZES)
        name = self.name()
        if self.chance.random() < 0.2:
            return name + self.chance.choice("aé☂") * (size // 3)
        return name.encode() + self.chance.randbytes(max(0, size + self.chance.randrange(-3, 4)))

    def name(self) -> str:
        """What makes a payload another than all before, where that is needed."""
        self.made += 1
        return f"{self.made} " if self.skips else ""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        match self.chance.randrange(8):
            case 0:
                # With a smaller window the kernel may fall back on its timer, and a few hundred bytes a second.
                return tcp_pair(send_buffer=0, receive_buffer=16_384)
            case 1:
                return tcp_pair()
            case 2 | 3:
                return unix_pair()
            case _:
                return unix_pair(send_buffer=self.chance.choice([0, 0, 10_000, 50_000]))

    def some(self, *, started: bool = True) -> Connection | None:
        those = [one for one in self.connections if (one.fd < 0) == started and not one.left]
        return self.chance.choice(those) if those else None

    def attach(self) -> None:
        if sum(not one.left and one.model.open for one in self.connections) > 14:
            return
        topic, model = self.topic()
        role = self.chance.choice([SUBSCRIBER] * 4 + [DUPLEX, PUBLISHER])
        head = b"" if self.chance.random() < 0.3 else b"HTTP/1.1 101\r\n" + b"h" * self.chance.randrange(6000)
        one = ModelSubscriber(model, bool(role & SUBSCRIBER), head)
        peer, fd = self.rig.attach(topic, role, self.pair())
        assert peer.offset == one.offset
        self.connections.append(Connection(peer, one, fd))

    def start(self) -> None:
        one = self.some(started=False)
        if one is None:
            return
        if self.chance.random() < 0.1:
            self.engine.abort(one.peer.token)
            os.close(one.fd)
            one.peer.close()
            self.connections.remove(one)
            return
        self.engine.start(one.peer.token, one.fd, one.model.head, b"early" * self.chance.randrange(2))
        one.fd = -1

    def publish(self) -> None:
        topic, model = self.topic()
        payload = self.payload()
        assert topic.publish(payload) == model.publish(payload)

    def publish_many(self) -> None:
        topic, model = self.topic()
        payloads = [self.payload() for _ in range(self.chance.randrange(1, 30))]
        if self.chance.random() < 0.03:  # so much is put together aside
            payloads.append(self.name().encode() + self.chance.randbytes(ASIDE))
        assert topic.publish_many(payloads) == [model.publish(payload) for payload in payloads][-1]

    def piece(self) -> None:
        if len(self.partials) < 2:
            which = self.chance.randrange(len(self.topics))
            self.partials.append((which, self.topics[which].partial(), bytearray(self.name().encode())))
            self.partials[-1][1].extend(self.partials[-1][2])
        which, partial, payload = self.chance.choice(self.partials)
        data = self.chance.randbytes(self.chance.choice([0, 10, 5000, 90_000]))
        partial.extend(data)
        payload += data
        if self.chance.random() < 0.3:
            self.partials = [one for one in self.partials if one[1] is not partial]
            if self.chance.random() < 0.8:
                assert partial.publish() == self.models[which].publish(bytes(payload))

    def send_control(self) -> None:
        one = self.some()
        if one is not None:
            control = frame(self.chance.randbytes(self.chance.randrange(100)), self.chance.choice([PING, PONG]))
            self.engine.send(one.peer.token, control)
            one.model.send(control)
            # Carried out now: what is published from here on may not overtake it.
            self.carry_out()

    def end(self) -> None:
        one = self.some()
        if one is None:
            return
        close = frame(b"\x03\xe8" + b"bye" * self.chance.randrange(30), CLOSE)
        after_log = self.chance.random() < 0.5
        self.engine.end(one.peer.token, close, after_log=after_log, discard=self.chance.random() < 0.3)
        one.model.end(close, after_log)
        self.carry_out()

    def abort(self) -> None:
        one = self.some()
        if one is not None:
            self.engine.abort(one.peer.token)
            one.model.aborted = True

    def leave(self) -> None:
        one = self.some()
        if one is not None:
            one.peer.drain(self.chance.randrange(100_000))
            one.peer.close()
            one.left = one.model.aborted = True

    def peer_writes(self) -> None:
        one = self.some()
        if one is not None:
            with contextlib.suppress(OSError):  # full, or closed by the engine
                one.peer.socket.send(bytes(self.chance.randrange(1, 5000)))

    def peer_reads(self) -> None:
        one = self.some()
        if one is not None:
            one.peer.drain(self.chance.choice([1, 500, 5000, 50_000, 1 << 20]))

    def turn(self) -> None:
        budget = self.chance.choice([0.0, 0.002])
        if not self.engine.io_threads:
            self.engine.turn(budget=budget)
        elif budget:
            self.rig.settle()
        self.collect()

    def carry_out(self) -> None:
        """What was ordered until now."""
        if self.engine.io_threads:
            self.rig.settle()
        self.turn()

    # --- the shell's part ---

    def collect(self) -> None:
        """Resumes what is lent; closes what is condemned."""
        by_token = {one.peer.token: one for one in self.connections}
        self.rig.take_events()
        for kind, token, detail, _, _ in self.rig.events:
            one = by_token[token]
            if kind == EventKind.LENT:
                self.engine.resume(token)
            elif kind == EventKind.CONDEMNED:
                assert self.policy == "disconnect", f"condemned with cause {detail}"
                close = frame(b"\x03\xf5", CLOSE)
                self.engine.end(token, close)
                one.model.end(close, after_log=False)
                # An end behind the log that was ordered meanwhile found no log left.
                one.model.condemned = one.model.cut = True
            else:
                somebodys_doing = not one.model.open
                assert somebodys_doing, f"departed with cause {detail}"
        self.rig.events.clear()

    # --- the end ---

    def finish(self) -> None:
        """Everybody reads everything, and it is what the model says."""
        for one in self.connections:
            if one.fd >= 0:
                self.engine.start(one.peer.token, one.fd, one.model.head)
                one.fd = -1
        self.partials.clear()
        for topic, model in zip(self.topics, self.models, strict=True):
            last = f"{self.name()}the last of all"
            assert topic.publish(last) == model.publish(last)
        for one in self.connections:
            if not one.left:
                self.read_out(one)
            one.model.check(bytes(one.peer.got))
        assert [topic.next_offset for topic in self.topics] == [model.next_offset for model in self.models]
        assert [topic.log_bytes for topic in self.topics] == [0] * len(self.topics)
        self.check_skips()
        for one in self.connections:
            one.peer.close()
            one.model.aborted = True

        def all_gone() -> bool:
            self.collect()
            return self.rig.connections == 0

        self.rig.until(all_gone)
        assert (self.rig.memory_bytes, [topic.clients for topic in self.topics]) == (0, [0] * len(self.topics))

    def check_skips(self) -> None:
        """What the engine counted is what the streams lack; of those who went, more may have been skipped."""
        for topic, model in zip(self.topics, self.models, strict=True):
            gaps = [size for one in self.connections if one.model.topic is model for size in one.model.skipped]
            assert topic.skipped_messages >= sum(gaps) and topic.skips >= len(gaps)
            if all(one.model.open for one in self.connections):
                assert (topic.skipped_messages, topic.skips) == (sum(gaps), len(gaps))

    def read_out(self, one: Connection) -> None:
        peer, model, size = one.peer, one.model, one.model.size_of_all()
        last = frame(model.topic.messages[-1][1], model.topic.messages[-1][0])

        def complete() -> bool:
            self.collect()
            peer.drain()
            if peer.ended or model.aborted:
                return peer.ended
            if model.close:
                return len(peer.got) >= len(model.head) + len(model.close) and peer.got.endswith(model.close)
            if self.skips and model.listens:
                return peer.got.endswith(last)
            return len(peer.got) >= size

        # Through the smallest buffers of TCP the kernel brings half a megabyte a second; but always something.
        had = -1

        def moved() -> bool:
            return complete() or len(peer.got) > had

        while not complete():
            had = len(peer.got)
            self.rig.until(moved)
        self.rig.settle()
        peer.drain()


def play(run: Run, seed: int) -> None:
    steps, weights = zip(*run.steps, strict=True)
    print(f"seed {seed}")
    try:
        for step in run.chance.choices(steps, weights, k=OPERATIONS):
            step()
        run.finish()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("seed", SEEDS)
def test_every_stream_is_what_the_model_says(make_rig: Callable[..., Rig], seed: int | None) -> None:
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
    rig = make_rig(max_memory_bytes=2 << 30, write_timeout=600.0, close_deadline=600.0)
    play(Run(rig, seed, max_lag_bytes=1 << 30), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_those_condemned_for_their_lag_get_a_clean_prefix(make_rig: Callable[..., Rig], seed: int | None) -> None:
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
    rig = make_rig(max_memory_bytes=2 << 30, write_timeout=600.0, close_deadline=600.0)
    play(Run(rig, seed, max_lag_bytes=400_000, pace_lag_bytes=50_000), seed)


POLICIES = [("skip", 400_000), ("skip", 20_000), ("latest", 1), ("block", 50_000)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("policy", "bound"), POLICIES)
def test_under_other_policies_nobody_is_condemned_and_gaps_are_whole_messages(
    make_rig: Callable[..., Rig], policy: str, bound: int, seed: int | None
) -> None:
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
    rig = make_rig(max_memory_bytes=2 << 30, write_timeout=600.0, close_deadline=600.0)
    play(Run(rig, seed, policy=policy, max_lag_bytes=bound), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "bounds", [{}, {"policy": "skip", "max_lag_bytes": 100_000}, {"policy": "skip", "max_lag_messages": 5}]
)
def test_while_nobody_leaves_what_is_skipped_is_counted_exactly(
    make_rig: Callable[..., Rig], bounds: dict[str, Any], seed: int | None
) -> None:
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
    rig = make_rig(max_memory_bytes=2 << 30, write_timeout=600.0, close_deadline=600.0)
    play(Run(rig, seed, steady=True, **{"policy": "latest", **bounds}), seed)

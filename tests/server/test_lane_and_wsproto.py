"""The same bytes, cut anywhere, down both ways: through the lane, and all of them through wsproto. Nobody can tell.

Compared are what subscribers get, what the client is answered to the last byte, and what is counted. Most examples go
over socket pairs into an engine and its sessions in this thread, piece by piece; some through a whole server.
"""

import os
import random
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Engine
from pubsub.census import Census
from pubsub.eventstream import EventStreams
from pubsub.handshake import Role
from pubsub.options import Options
from pubsub.session import Session, Sessions, new_uid
from tests.support.clientstreams import LIMIT, client_stream, cut
from tests.support.frames import CLOSE, PONG, parse
from tests.support.rawclient import RawClient
from tests.support.server import Scene, serving, wait_until
from tests.support.sockets import readable

# More by hand: FASTFAN_EXAMPLES=100000 make test ARGS="tests/server/test_lane_and_wsproto.py"
EXAMPLES = int(os.environ.get("FASTFAN_EXAMPLES", "600"))
END = b"the end"


class Answers(NamedTuple):
    """What a client got, but for what depends on how the kernel cuts the stream, with the lane or without."""

    closes: list[bytes]  # without how much of a message had come when it was found to be too large
    pongs: list[bytes]  # those to pings that came in one piece with a Close are left out (RFC 6455 section 5.5.2)
    messages: list[tuple[int, bytes]]  # a duplex client's own; our Close may come before them

    def agrees(self, other: "Answers") -> bool:
        return (
            self.closes == other.closes
            and one_goes_on(self.pongs, other.pongs, ended=bool(self.closes))
            and one_goes_on(self.messages, other.messages, ended=bool(self.closes))
        )


def one_goes_on(one: list[Any], other: list[Any], *, ended: bool) -> bool:
    """Whether they are the same; or, where a Close ended them, as far as the shorter one goes."""
    shorter, longer = sorted((one, other), key=len)
    return longer[: len(shorter)] == shorter and (ended or len(shorter) == len(longer))


def to_answers(stream: bytes | bytearray) -> Answers:
    frames, rest = parse(stream)
    assert rest == b""
    closes = [re.sub(rb"message of \d+", b"message of", payload) for opcode, payload in frames if opcode == CLOSE]
    pongs = [payload for opcode, payload in frames if opcode == PONG]
    return Answers(closes, pongs, [it for it in frames if it[0] not in (CLOSE, PONG)])


# --- an engine and its sessions -------------------------------------------------------------------------------------


class Way:
    """One of the two, without asyncio: what server.py does with an engine and its events, for one client at a time."""

    def __init__(self, *, lane: bool) -> None:
        self.options = Options(max_message_bytes=LIMIT, lane=lane)
        self.engine = Engine(io_threads=0, max_memory_bytes=1 << 30, lane_bytes=LIMIT if lane else 0)
        self.census = Census(EventStreams(1))
        self.sessions = Sessions(self.engine, self.options, self.census, lambda: None)

    def settle(self) -> None:
        for _ in range(1000):
            self.engine.turn()
            events = self.engine.take_events()
            for kind, token, detail, _, data in events:
                self.sessions.handle(kind, token, detail, data)
            if not events and not readable(self.engine.work_fileno()):
                return
        raise AssertionError("the engine never comes to rest")

    @contextmanager
    def client(self, topic: str, role: int) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            theirs.setblocking(False)
            attached = self.engine.attach(self.engine.topic(topic), role=role)
            self.sessions.add(Session(attached.token, self.engine.topic(topic), ROLES[role], "", new_uid()))
            self.engine.start(attached.token, ours.detach())
            self.settle()
            yield theirs

    def counts(self) -> tuple[object, ...]:
        engine, census = self.engine.stats(), self.census
        return (
            census.messages + engine["messages"],
            census.message_bytes + engine["message_bytes"],
            census.ignored_messages + engine["ignored_messages"],
            dict(census.departures),
            engine["memory_bytes"],
            len(self.sessions),
        )

    def carry(self, topic: str, role: int, pieces: list[bytes], *, listened: bool) -> tuple[bytes, Answers]:
        """What a subscriber and the client got of it."""
        log, answers = bytearray(), bytearray()
        with self.client(topic, SUBSCRIBER) if listened else self.nobody() as subscriber:
            with self.client(topic, role) as client:
                for piece in pieces:
                    if not send(client, piece):
                        break
                    self.settle()
                    read(subscriber, log)
                    read(client, answers)
                client.shutdown(socket.SHUT_WR)
                self.settle()
                read(client, answers)
            self.settle()
            read(subscriber, log)
        self.settle()
        return bytes(log), to_answers(answers)

    @contextmanager
    def nobody(self) -> Iterator[None]:
        yield None


ROLES = {PUBLISHER: Role.PUBLISHER, SUBSCRIBER: Role.SUBSCRIBER, DUPLEX: Role.DUPLEX}


def send(client: socket.socket, piece: bytes) -> bool:
    try:
        return client.send(piece) == len(piece)
    except (BrokenPipeError, ConnectionResetError):
        return False  # the engine had enough


def read(client: socket.socket | None, into: bytearray) -> None:
    try:
        while client is not None and (data := client.recv(1 << 20)):
            into += data
    except (BlockingIOError, ConnectionResetError):
        pass


@pytest.fixture
def ways() -> Iterator[tuple[Way, Way]]:
    """With the lane, and without."""
    both = Way(lane=True), Way(lane=False)
    yield both
    for way in both:
        way.engine.close()


def test_the_same_bytes_have_the_same_outcome_with_the_lane_and_without(ways: tuple[Way, Way]) -> None:
    laned, plain = ways
    for seed in range(EXAMPLES):
        random_ = random.Random(seed)
        stream = client_stream(random_)
        pieces = cut(random_, stream)
        role = random_.choice([PUBLISHER, PUBLISHER, SUBSCRIBER, DUPLEX])
        listened = random_.random() < 0.8
        one, other = (way.carry(f"/{seed}", role, pieces, listened=listened) for way in ways)
        assert one[0] == other[0], f"seed {seed}"
        assert one[1].agrees(other[1]), f"seed {seed}: {str(one[1])[:300]} and {str(other[1])[:300]}"
        assert laned.counts() == plain.counts(), f"seed {seed}"
        for way in ways:
            way.engine.sweep_topics(0, 0)


# --- a server -------------------------------------------------------------------------------------------------------


async def carried(scene: Scene, topic: str, role: str, pieces: list[bytes]) -> tuple[bytes, Answers]:
    """What a subscriber and the client got of it."""
    subscriber, client = await scene.join(topic), await scene.join(topic, role)
    try:
        for piece in pieces:
            await client.send(piece)
        client.finish()
    except ConnectionError:
        pass
    answers = await everything(client)
    client.close()
    await wait_until(lambda: present(scene) == 1, "the client's departure")
    scene.server.publish(topic, END)
    got = b""
    while not got.endswith(END):
        assert await subscriber.read_some()
        got = bytes(subscriber.buffer)
    subscriber.close()
    await scene.wait_empty()
    return got, answers


def present(scene: Scene) -> int:
    stats = scene.server.stats()
    return stats.publishers + stats.subscribers


async def everything(client: RawClient) -> Answers:
    try:
        return to_answers(await client.read_rest())
    except ConnectionError:
        return Answers([], [], [])  # the server had enough of what we still sent


def counts(scene: Scene) -> tuple[object, ...]:
    stats = scene.server.stats()
    return stats.messages, stats.message_bytes, stats.ignored_messages, stats.departures


@pytest.mark.slow
async def test_through_a_server_it_is_the_same() -> None:
    async with serving(max_message_bytes=LIMIT) as laned, serving(max_message_bytes=LIMIT, lane=False) as plain:
        for seed in range(EXAMPLES // 4):
            random_ = random.Random(seed)
            stream = client_stream(random_)
            role = random_.choice(["publisher", "publisher", "subscriber"])
            one = await carried(laned, f"/{seed}", role, cut(random_, stream))
            other = await carried(plain, f"/{seed}", role, cut(random_, stream))
            assert one[0] == other[0], f"seed {seed}"
            assert one[1].agrees(other[1]), f"seed {seed}: {str(one[1])[:300]} and {str(other[1])[:300]}"
            assert counts(laned) == counts(plain), f"seed {seed}"

"""What the clients of the troublesome share: the way to the server, names, dice, and the book of how each ended."""

import asyncio
import contextlib
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tests.soak.departures import Ending
from tests.soak.plan import STEADY, TOPICS, WITH_LAGGARDS
from tests.support.namespaces import Namespace
from tests.support.rawclient import RawClient, Response, request

__all__ = ["GONE", "LEFT_LATE", "Ground", "Line", "read_out"]

# A socket that is simply closed ends with a FIN, or with a reset where the server's bytes were still unread; and the
# kernel may tell a reset to a send, after which a read finds no more than the end.
GONE = ("left", "reset")
# Where a reset may be lost: who has left a ping unread is sent nothing more that it could answer with another one.
_GONE_OR_LOST = (*GONE, "no_pong")

# Among the counts: those who may have been refused and did not look, and how long they were there at least.
LEFT_LATE = "left_late"
_LATE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A way to the server: its address there, the namespace of the clients, and whether packets are lost on it."""

    host: str = "127.0.0.1"
    place: Namespace | None = None  # ours
    is_lossy: bool = False

    def socket(self) -> socket.socket:
        with self.place or contextlib.nullcontext():
            return socket.socket()


class Ground:
    """One event loop's share of the population. The names of its clients begin with `prefix`."""

    def __init__(self, port: int, *, seed: str, line: Line | None = None, prefix: str = "") -> None:
        self.port = port
        self.line = line or Line()
        self.prefix = prefix
        self.random = random.Random(seed)
        self.leaving = asyncio.Event()
        self.endings: list[Ending] = []
        self.refusals: Counter[int] = Counter()  # that clients read, by status
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._number = 0

    def take_report(self) -> dict[str, Any]:
        """What is new since it was last taken; counts are since the beginning."""
        endings, self.endings = self.endings, []
        faults, self.faults = self.faults, []
        return {
            "endings": [ending.to_document() for ending in endings],
            "refusals": {str(status): count for status, count in self.refusals.items()},
            "counts": dict(self.counts),
            "faults": faults,
        }

    # --- clients ---

    def name(self, kind: str) -> str:
        self._number += 1
        self.counts[self.prefix + kind] += 1
        return f"{self.prefix}{kind}.{self._number}"

    def head(self, name: str, topic: str, role: str) -> bytes:
        return request(topic, ("pubsub-client-name", name), role=role)

    @contextlib.asynccontextmanager
    async def dial(self, *, receive_buffer: int | None = None, line: Line | None = None) -> AsyncIterator[RawClient]:
        """A connection that is closed at the end, if it was not before."""
        line = line or self.line
        client = await RawClient.dial(self.port, line.host, receive_buffer=receive_buffer, sock=line.socket())
        try:
            yield client
        finally:
            client.close()

    @contextlib.asynccontextmanager
    async def dial_unread(self) -> AsyncIterator[RawClient]:
        """The same for who does not look at an answer. When this machine stands still, such a client may be late with
        its request, or with its end, and refused without knowing."""
        began = time.monotonic()
        try:
            async with self.dial() as client:
                yield client
        finally:
            self.counts[self.prefix + LEFT_LATE] += time.monotonic() - began > _LATE_SECONDS

    @contextlib.asynccontextmanager
    async def join(
        self, name: str, topic: str, role: str, *, receive_buffer: int | None = None, line: Line | None = None
    ) -> AsyncIterator[RawClient]:
        """A client with its 101. Whoever joins must say how it ended, also when it fails."""
        while True:
            async with self.dial(receive_buffer=receive_buffer, line=line) as client:
                try:
                    await client.upgrade(self.head(name, topic, role))
                except AssertionError:
                    if not self._may_be_late(client.response):
                        raise
                    continue
                yield client
                return

    def _may_be_late(self, response: Response | None) -> bool:
        """After a packet of the connection's beginning was lost, the kernel repeats a lost request in 3 s: too late."""
        late = self.line.is_lossy and response is not None and response.status == 408
        self.refusals[408] += late
        return late

    @property
    def gone(self) -> tuple[str, ...]:
        """The right causes for who is gone without a word."""
        return _GONE_OR_LOST if self.line.is_lossy else GONE

    def ended(self, name: str, *causes: str, sure: bool = True) -> None:
        self.endings.append(Ending(name, frozenset(causes), sure))

    # --- chance ---

    def topic(self) -> str:
        return self.random.choice(TOPICS)

    def steady_topic(self) -> str:
        return self.random.choice(STEADY)

    def topic_for_laggards(self) -> str:
        return self.random.choice(WITH_LAGGARDS)

    def role(self) -> str:
        return self.random.choice(("publisher", "subscriber"))

    async def stay(self, seconds: float) -> None:
        """So long, or until everybody leaves."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.leaving.wait()


async def read_out(client: RawClient) -> None:
    """Everything up to the end of the stream, however it ends; nothing of it is kept."""
    with contextlib.suppress(ConnectionError):
        while await client.read_some():
            client.buffer.clear()

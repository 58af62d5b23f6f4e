"""The steady ones: publishers and readers that stay for all of it, to whom nothing of the trouble around may happen.

Half of them are our clients, half are raw ones: the raw publishers send fragments with pings in between, and the raw
readers use none of our code. Each reader checks that it gets every message once, whole and in order, and how old it is
then.
"""

import asyncio
import json
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from pubsub import Publisher, PubSubError, Subscriber
from tests.soak.ground import Ground, read_out
from tests.soak.messages import Mint, Reading, Tally
from tests.soak.plan import LATEST, RECEIVE_BUFFER_BYTES, TIMED, TOPICS, Plan
from tests.soak.programs import answer, asked_until_end, begin
from tests.support.frames import parse
from tests.support.rawclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, close_frame, frame

_CATCH_UP_SECONDS = 15.0
# A burst is well below max_lag_bytes. Visitors, whose sockets have room, are the majority here, so that pacing does not
# hold it up.
_BURST_EVERY, _BURST_BYTES = 20.0, 3 << 20
# A process that stood still for so long may have been closed with reason: its readers had no time to read.
_EXCUSING_PAUSE = 1.0
_EXCUSED = ("no_pong", "stalled", "too_far_behind")


Seat = tuple[str, bool]  # a topic, and whether the one there is a raw one


class Steady:
    """Readers, and publishers by number, which begin when all of the readers are there."""

    def __init__(
        self,
        plan: Plan,
        ground: Ground,
        *,
        readers: Sequence[Seat],
        publishers: Mapping[int, Seat],
        timed: Collection[str],
    ) -> None:
        self.plan = plan
        self.ground = ground
        self.tally = Tally()
        self.readings: dict[str, list[Reading]] = {topic: [] for topic, _ in readers}
        self.mints: dict[int, Mint] = {}
        self.excused = 0
        self.joined = asyncio.Event()
        self.done = asyncio.Event()  # the readers have everything
        self._pauses: list[tuple[float, float]] = []
        self._readers = readers
        self._publishers = publishers
        self._timed = timed
        self._waiting = len(readers)

    def url(self, topic: str) -> str:
        return f"ws://{self.ground.line.host}:{self.ground.port}{topic}"

    def take_report(self) -> dict[str, Any]:
        tally = self.tally
        ages, tally.latencies_ns = sorted(tally.latencies_ns), []
        now = time.monotonic()
        report = {
            "delivered": tally.delivered,
            "delivered_bytes": tally.delivered_bytes,
            "lost": tally.lost,
            "duplicated": tally.duplicated,
            "reordered": tally.reordered,
            "damaged": tally.damaged,
            "skipped": tally.skipped,
            "excused": self.excused,
            "p50_ms": ages[len(ages) // 2] / 1e6 if ages else None,
            "p99_ms": ages[len(ages) * 99 // 100] / 1e6 if ages else None,
            "pause_ms": max([pause for at, pause in self._pauses if at > now - 1.0], default=0.0) * 1e3,
        }
        faults, tally.faults = tally.faults, []
        self.ground.faults += faults
        return {**report, **self.ground.take_report()}

    async def stay(self) -> None:
        """Until the end of the input, and until everybody has what is due to it."""
        readers = [asyncio.create_task(self.read(topic, raw=raw)) for topic, raw in self._readers]
        publishers = [
            asyncio.create_task((self.publish_raw if raw else self.publish)(topic, number))
            for number, (topic, raw) in self._publishers.items()
        ]
        watching = asyncio.create_task(self.watch_pauses())
        await asked_until_end(self.take_report)
        self.ground.leaving.set()
        for outcome in await asyncio.gather(*publishers, return_exceptions=True):
            if isinstance(outcome, BaseException):
                self.ground.faults.append(f"a steady publisher: {type(outcome).__name__}: {outcome}")
        await self.finish()
        await asyncio.gather(*readers)
        watching.cancel()

    # --- the process itself ---

    async def watch_pauses(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            now = time.monotonic()
            self._pauses = [each for each in self._pauses if each[0] > now - 10.0]
            self._pauses.append((now, now - before - 0.05))

    def _was_away(self) -> bool:
        return max((pause for _, pause in self._pauses), default=0.0) > _EXCUSING_PAUSE

    # --- readers ---

    async def read(self, topic: str, *, raw: bool) -> None:
        """One reader, which comes back where it was closed while this process stood still."""
        known: Collection[int] = self._publishers
        timed = topic in self._timed
        while not self.done.is_set():
            kind = "raw_reader" if raw else "reader"
            name = self.ground.name(kind)
            reading = Reading(f"{name} of {topic}", self.tally, gaps=topic in LATEST, known=known, timed=timed)
            self.readings[topic].append(reading)
            try:
                async for message in (self._raw_messages if raw else self._messages)(name, topic):
                    reading.take(message)
                self.ground.ended(name, "closed")
            except (PubSubError, OSError, EOFError, AssertionError, TimeoutError) as error:
                self._sent_away(name, error)
            self.readings[topic].remove(reading)
            known = ()

    def _sent_away(self, name: str, error: BaseException) -> None:
        if self._was_away():
            self.excused += 1
            self.ground.ended(name, *_EXCUSED)
        else:
            self.ground.faults.append(f"{name} was sent away: {type(error).__name__}: {error}")

    async def _messages(self, name: str, topic: str) -> AsyncIterator[bytes | str]:
        async with Subscriber(self.url(topic), name=name, text=True, connect=self._connect) as subscriber:
            self._is_here()
            closing = asyncio.create_task(self._close_when_done(subscriber))
            try:
                while messages := await subscriber.take_messages():
                    for message in messages:
                        yield message
                    # A burst must not keep this loop from answering pings.
                    await asyncio.sleep(0)
            finally:
                closing.cancel()

    async def _connect(
        self, host: str, port: int, tls: object, server_hostname: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = self.ground.line.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return await asyncio.open_connection(sock=sock)

    async def _close_when_done(self, subscriber: "Subscriber[bytes | str]") -> None:
        await self.done.wait()
        await subscriber.close()

    async def _raw_messages(self, name: str, topic: str) -> AsyncIterator[bytes | str]:
        async with self.ground.join(name, topic, "subscriber", receive_buffer=RECEIVE_BUFFER_BYTES) as client:
            self._is_here()
            closing = asyncio.create_task(self._close_raw_when_done(client))
            try:
                while await client.read_some():
                    # All that is there at once: message by message a burst would take too many turns of the loop.
                    frames, client.buffer[:] = parse(client.buffer)
                    for opcode, payload in frames:
                        if opcode == PING:
                            await client.send(frame(payload, PONG))
                        elif opcode == CLOSE and not self.done.is_set():
                            raise EOFError(f"Close with {payload!r}")
                        elif opcode != CLOSE:
                            yield payload.decode() if opcode == TEXT else payload
            finally:
                closing.cancel()

    async def _close_raw_when_done(self, client: RawClient) -> None:
        await self.done.wait()
        await client.send(close_frame())

    def _is_here(self) -> None:
        self._waiting -= 1
        if self._waiting <= 0:
            self.joined.set()

    # --- publishers ---

    async def publish(self, topic: str, number: int) -> None:
        """With our client, with bursts, and with messages of 0 bytes."""
        await self.joined.wait()
        mint = self.mints[number] = Mint(number, seed=self.plan.seed, empties=True)
        dice = random.Random(f"{self.plan.seed} {number}")
        name, loop = self.ground.name("publisher"), asyncio.get_running_loop()
        self.ground.ended(name, "closed")
        async with Publisher(self.url(topic), name=name, connect=self._connect) as publisher:
            while not self.ground.leaving.is_set():
                ends = loop.time() + dice.uniform(0.5, 1.5) * _BURST_EVERY
                while loop.time() < ends and not self.ground.leaving.is_set():
                    await publisher.publish(mint.next())
                    await self.ground.stay(dice.expovariate(self.plan.message_rate))
                left = _BURST_BYTES
                while left > 0:
                    await publisher.publish(message := mint.next())
                    left -= len(message) + 1
            await publisher.flush()

    async def publish_raw(self, topic: str, number: int) -> None:
        """In fragments, with pings in between, cut wherever chance wants it."""
        await self.joined.wait()
        mint = self.mints[number] = Mint(number, seed=self.plan.seed)
        dice = random.Random(f"{self.plan.seed} {number}")
        name = self.ground.name("raw_publisher")
        self.ground.ended(name, "closed")
        async with self.ground.join(name, topic, "publisher") as client:
            reading = asyncio.create_task(read_out(client))
            while not self.ground.leaving.is_set():
                await self._send_fragments(client, mint.next(), dice)
                await self.ground.stay(dice.expovariate(self.plan.message_rate))
            await client.send(close_frame())
            await reading

    async def _send_fragments(self, client: RawClient, message: bytes | str, dice: random.Random) -> None:
        data = message.encode() if isinstance(message, str) else message
        cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 0, 1, 2, 5))))
        opcode = TEXT if isinstance(message, str) else BINARY
        for index, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
            last = index == len(cuts)
            await client.send(frame(data[start:end], CONTINUATION if index else opcode, fin=last))
            if not last and dice.random() < 0.3:
                await client.send(frame(b"between", PING))

    # --- the end ---

    async def finish(self) -> None:
        """The publishers have left: readers get what is still due to them, and leave."""
        ends = time.monotonic() + _CATCH_UP_SECONDS
        while self._owed() and time.monotonic() < ends:  # noqa: ASYNC110 (a reading has no event for it)
            await asyncio.sleep(0.02)
        for reading, number in self._owed():
            reading.miss(number, self.mints[number].number)
        self.done.set()

    def _owed(self) -> list[tuple[Reading, int]]:
        return [
            (reading, number)
            for number, mint in self.mints.items()
            for reading in self.readings[self._publishers[number][0]]
            if reading.last(number) < mint.number
        ]


async def main() -> None:
    plan = Plan.from_document(json.loads(sys.argv[1]))
    steady = Steady(
        plan,
        Ground(int(sys.argv[2]), seed=f"{plan.seed} steady"),
        readers=[(topic, reader % 2 == 1) for topic in TOPICS for reader in range(plan.readers)],
        # Two a topic, numbered from 1.
        publishers={2 * at + raw + 1: (topic, bool(raw)) for at, topic in enumerate(TOPICS) for raw in (0, 1)},
        timed=TIMED,
    )
    answer({})
    await steady.stay()
    answer(steady.take_report())


if __name__ == "__main__":
    begin()
    asyncio.run(main())

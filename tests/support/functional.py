"""The functional test on real data: every publisher sends all of it, every subscriber checks all of it.

    python -m tests.support.functional --publishers 20 --subscribers 50 --messages 500

Each message is prefixed with its publisher's number and its own, so that a subscriber can check the order; each
publisher's last message is the hash of all it sent, so that a subscriber can check that nothing is missing or changed.
"""

import argparse
import asyncio
import hashlib
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from pubsub import Publisher, Subscriber
from tests.support.processes import running_server

__all__ = ["Ledger", "Mismatch", "Plan", "Report", "carry_out", "load_payloads"]

ROOT = Path(__file__).parents[2]
LENGTH = struct.Struct(">I")
PREFIX = struct.Struct(">II")  # publisher's number, message's number
DATA_FILE = ROOT / "test.dat"


class Mismatch(AssertionError):
    """A subscriber got something other than what was published."""


@dataclass(frozen=True)
class Plan:
    """How many of each, and what each publisher sends."""

    publishers: int
    subscribers: int
    payloads: Sequence[bytes]

    @property
    def deliveries(self) -> int:
        return self.publishers * self.subscribers * len(self.payloads)


@dataclass(frozen=True)
class Report:
    plan: Plan
    seconds: float

    def __str__(self) -> str:
        plan = self.plan
        size = sum(map(len, plan.payloads)) * plan.publishers * plan.subscribers
        return (
            f"{plan.publishers} publishers x {plan.subscribers} subscribers x {len(plan.payloads)} messages: "
            f"{plan.deliveries:,} deliveries of {size / 1e6:,.0f} MB in {self.seconds:.1f} s; "
            f"nothing lost, changed or out of order"
        )


class Ledger:
    """What one subscriber has got from each publisher."""

    def __init__(self, publishers: int, messages: int) -> None:
        self._messages = messages
        self._next = [0] * publishers
        self._hashes = [hashlib.sha256() for _ in range(publishers)]
        self._unfinished = publishers

    @property
    def complete(self) -> bool:
        return self._unfinished == 0

    def take(self, message: bytes) -> None:
        publisher, number = PREFIX.unpack_from(message)
        payload = memoryview(message)[PREFIX.size :]
        if number != self._next[publisher]:
            raise Mismatch(f"publisher {publisher}: got message {number} in place of {self._next[publisher]}")
        self._next[publisher] += 1
        if number < self._messages:
            _hash_payload(self._hashes[publisher], payload)
        elif payload != self._hashes[publisher].digest():
            raise Mismatch(f"publisher {publisher}: the hash of its {number} messages is another")
        else:
            self._unfinished -= 1


def _hash_payload(digest: "hashlib._Hash", payload: bytes | memoryview) -> None:
    digest.update(LENGTH.pack(len(payload)))
    digest.update(payload)


def _messages(number: int, payloads: Sequence[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for index, payload in enumerate(payloads):
        _hash_payload(digest, payload)
        yield PREFIX.pack(number, index) + payload
    yield PREFIX.pack(number, len(payloads)) + digest.digest()


async def carry_out(plan: Plan, url: str) -> Report:
    """Publish and check everything over the server at `url`. Raises Mismatch, or what ended a connection."""
    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(Subscriber(url)) for _ in range(plan.subscribers)]
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for subscriber in subscribers:
                tasks.create_task(_check(subscriber, plan))
            for number in range(plan.publishers):
                tasks.create_task(_publish(url, number, plan.payloads))
        return Report(plan, time.monotonic() - start)


async def _publish(url: str, number: int, payloads: Sequence[bytes]) -> None:
    async with Publisher(url, name=f"functional-{number}") as publisher:
        for message in _messages(number, payloads):
            await publisher.publish(message)
        await publisher.flush()


async def _check(subscriber: Subscriber[bytes], plan: Plan) -> None:
    ledger = Ledger(plan.publishers, len(plan.payloads))
    async for message in subscriber:
        ledger.take(message)
        if ledger.complete:
            return
    raise Mismatch("the subscription ended before everything was there")


def load_payloads(file: Path | None = None, *, messages: int | None = None) -> list[bytes]:
    """The payloads of `file`, or of test.dat; without it, or for a number of `messages`, of a new temporary file."""
    if file is None and messages is None and DATA_FILE.exists():
        file = DATA_FILE
    if file is not None:
        return list(_read(file.read_bytes()))[:messages]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "test.dat"
        tool = [sys.executable, str(ROOT / "tools" / "make_test_data.py"), "--output", str(made)]
        subprocess.run([*tool, "--messages", str(messages or 100)], check=True, stdout=subprocess.DEVNULL)
        return list(_read(made.read_bytes()))


def _read(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        (length,) = LENGTH.unpack_from(data, place)
        place += LENGTH.size + length
        yield data[place - length : place]


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish and check real data over a server.")
    parser.add_argument("--publishers", type=int, default=5)
    parser.add_argument("--subscribers", type=int, default=5)
    parser.add_argument("--messages", type=int, help="how many each publisher sends; else all of the file")
    parser.add_argument("--data", type=Path, help="a file of tools/make_test_data.py (test.dat where it exists)")
    parser.add_argument("--url", help="a running server's topic; else a server is started")
    arguments = parser.parse_args()
    plan = Plan(arguments.publishers, arguments.subscribers, load_payloads(arguments.data, messages=arguments.messages))
    if arguments.url:
        print(asyncio.run(carry_out(plan, arguments.url)))
        return
    with running_server() as server:
        print(asyncio.run(carry_out(plan, f"{server.url}/functional")))


if __name__ == "__main__":
    main()

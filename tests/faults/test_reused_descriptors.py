"""A descriptor's number is the next client's as soon as its client has gone: nobody gets what was another's.

The kernel gives out the lowest free number, so where one leaves as another comes the numbers go round and round.
"""

import asyncio
import os
import random
from collections.abc import Callable

import pytest

from tests.support.frames import BINARY, parse
from tests.support.rawclient import CONTINUATION, RawClient, close_frame, frame, request
from tests.support.server import PATIENCE, ServerProcess, server_process, wait_until

TOPICS = 7
AT_A_TIME, EACH = 12, 60


def say_goodbye(client: RawClient) -> None:
    client.sock.send(close_frame())
    client.close()


def send_half(client: RawClient) -> None:
    client.sock.send(frame(b"half of something", fin=False))
    client.reset()


WAYS: list[Callable[[RawClient], None]] = [RawClient.close, RawClient.reset, say_goodbye, send_half]


def sockets(server: ServerProcess) -> dict[int, str]:
    """What is behind each of the process's descriptors that is a socket."""
    found = {}
    for name in os.listdir(folder := f"/proc/{server.pid}/fd"):
        try:
            target = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found[int(name)] = target
    return found


class Reuse:
    """Which sockets were seen under each number."""

    def __init__(self) -> None:
        self.seen: dict[int, set[str]] = {}

    def look(self, server: ServerProcess) -> None:
        for number, target in sockets(server).items():
            self.seen.setdefault(number, set()).add(target)

    @property
    def most(self) -> int:
        return max(len(targets) for targets in self.seen.values())


async def publish_for_ever(port: int, topic: int) -> None:
    client = await RawClient.dial(port)
    try:
        await client.upgrade(request(f"/{topic}", role="publisher"))
        number = 1
        while True:
            await client.send(frame(b"%d %d " % (topic, number) + bytes(number % 3000)))
            number += 1
            await asyncio.sleep(0.001)
    finally:
        client.close()


async def hear_some(client: RawClient, topic: int, count: int) -> None:
    """Messages of its topic, from the one its 101 named on, and nothing else."""
    loop = asyncio.get_running_loop()
    expected = int(client.header["pubsub-offset"])
    heard = 0
    async with asyncio.timeout(PATIENCE):
        while heard < count:
            frames, rest = parse(client.buffer)
            client.buffer[:] = rest
            for opcode, payload in frames:
                assert (opcode, payload) == (BINARY, b"%d %d " % (topic, expected) + bytes(expected % 3000))
                expected, heard = expected + 1, heard + 1
            data = await loop.sock_recv(client.sock, 1 << 16)
            assert data
            client.buffer += data


async def come_and_go(server: ServerProcess, random_: random.Random, reuse: Reuse) -> None:
    for _ in range(EACH):
        client = await RawClient.dial(server.port)
        try:
            topic, role = random_.randrange(TOPICS), random_.choice(["subscriber", "subscriber", "publisher"])
            target = f"/{topic}" if role == "subscriber" else "/nobody"
            await client.upgrade(request(target, role=role))
            if role == "subscriber":
                await hear_some(client, topic, random_.randrange(4))
            else:
                await client.send(frame(b"to nobody") + frame(b"begun", fin=False))
        except BaseException:
            client.close()
            raise
        reuse.look(server)
        random_.choice(WAYS)(client)


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no lane"])
async def test_no_message_goes_to_the_next_client_with_the_same_descriptor(lane: bool) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    with server_process(lane=lane) as server:
        reuse = Reuse()
        publishers = [asyncio.create_task(publish_for_ever(server.port, topic)) for topic in range(TOPICS)]
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(AT_A_TIME):
                    group.create_task(come_and_go(server, random.Random(seed + number), reuse))
            assert not any(publisher.done() for publisher in publishers)
        finally:
            for publisher in publishers:
                publisher.cancel()
            await asyncio.gather(*publishers, return_exceptions=True)
        await wait_until(lambda: server.stats()["publishers"] == server.stats()["subscribers"] == 0, "an empty server")
        # Numbers did go round.
        assert reuse.most > 3
        await wait_until(lambda: server.stats()["memory_bytes"] == 0, "no memory held")


async def test_half_a_message_is_not_continued_by_the_next_client_with_the_same_descriptor() -> None:
    with server_process() as server:
        subscriber = await RawClient.dial(server.port)
        await subscriber.upgrade(request("/t"))
        numbers = set()
        for number in range(50):
            before = set(sockets(server))
            half = await RawClient.dial(server.port)
            await half.upgrade(request("/t", role="publisher"))
            numbers |= set(sockets(server)) - before
            await half.send(frame(b"half", fin=False))
            half.reset()
            await wait_until(lambda: set(sockets(server)) == before, "its end")  # noqa: B023
            following = await RawClient.dial(server.port)
            await following.upgrade(request("/t", role="publisher"))
            await following.send(frame(b"%d" % number, fin=False) + frame(b"!", CONTINUATION))
            assert await subscriber.read_message() == b"%d!" % number
            following.close()
            await wait_until(lambda: set(sockets(server)) == before, "its end as well")  # noqa: B023
        subscriber.close()
        assert len(numbers) == 1

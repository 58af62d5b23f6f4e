"""Many at once: one order for everybody, nothing lost, and storms of arrivals and departures leave nothing behind."""

import asyncio
import hashlib
import os
import random
import resource
from collections.abc import Callable

import pytest

from tests.support.rawclient import CONTINUATION, TEXT, RawClient, close_frame, frame, request
from tests.support.server import Scene, serving, wait_until

CROWD = 2000


# --- order ----------------------------------------------------------------------------------------------------------


def sizes(source: random.Random, count: int) -> list[int]:
    """Mostly small, some empty, some over one segment, around the edges of headers."""
    choices = [0, 1, 125, 126, 65535, 65536, 300_000]
    return [source.choice(choices) if source.random() < 0.15 else source.randrange(2000) for _ in range(count)]


def wire(source: random.Random, payload: bytes) -> bytes:
    """The message in one frame, or in two fragments."""
    if source.random() < 0.7:
        return frame(payload)
    cut = source.randrange(len(payload) + 1)
    return frame(payload[:cut], fin=False) + frame(payload[cut:], CONTINUATION)


@pytest.mark.parametrize("role", ["publisher", "duplex"])
async def test_five_publishers_and_five_subscribers_have_one_order_and_one_hash(role: str) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    source = random.Random(seed)
    async with serving() as scene:
        subscribers = [await scene.join() for _ in range(5)]
        publishers = [await scene.join(role=role) for _ in range(5)]
        said = [
            [b"%d %d " % (who, n) + os.urandom(size) for n, size in enumerate(sizes(source, 60))] for who in range(5)
        ]
        total = sum(map(len, said))

        async def publish(client: RawClient, messages: list[bytes]) -> None:
            data = b"".join(wire(source, message) for message in messages)
            start = 0
            while start < len(data):
                step = source.choice([1, 100, 5000, 200_000])
                await client.send(data[start : start + step])
                await asyncio.sleep(0)
                start += step

        readers = subscribers + (publishers if role == "duplex" else [])
        reading = asyncio.gather(*(reader.read_messages(total) for reader in readers))
        await asyncio.gather(*map(publish, publishers, said))
        heard = await reading
        digests = {hashlib.sha256(b"".join(map(bytes, messages))).hexdigest() for messages in heard}  # type: ignore[arg-type]
        assert len(digests) == 1
        for who in range(5):
            mine = [message for message in heard[0] if bytes(message).startswith(b"%d " % who)]  # type: ignore[arg-type]
            assert mine == said[who]


async def test_a_slow_subscriber_has_the_same_order_as_the_fast_ones() -> None:
    async with serving() as scene:
        slow, fast = await scene.join(receive_buffer=4096), await scene.join()
        publisher = await scene.join(role="publisher")
        payloads: list[bytes | str] = [b"%d" % number * 3000 for number in range(300)]
        for payload in payloads:
            await publisher.send(frame(payload))
            assert await fast.read_message() == payload
        assert await slow.read_messages(300) == payloads


async def test_many_topics_do_not_mix() -> None:
    async with serving() as scene:
        pairs = [(await scene.join(f"/{n}"), await scene.join(f"/{n}", "publisher")) for n in range(100)]
        for turn in range(5):
            for number, (_, publisher) in enumerate(pairs):
                await publisher.send(frame(f"{number} {turn}", TEXT))
        for number, (subscriber, _) in enumerate(pairs):
            assert await subscriber.read_messages(5) == [f"{number} {turn}" for turn in range(5)]
        assert scene.server.stats().topics == 100


async def test_those_who_come_and_go_during_a_stream_change_nothing_for_those_who_stay() -> None:
    async with serving() as scene:
        stays, publisher = await scene.join(), await scene.join(role="publisher")
        ways = [RawClient.close, RawClient.reset, RawClient.finish]
        for number in range(150):
            passing = await scene.join(role=("subscriber", "duplex", "publisher")[number % 3])
            await publisher.send(frame(b"%d" % number))
            if number % 2:
                await passing.send(frame(b"cut off")[:-2] if number % 3 == 0 else b"")
            ways[number % 3](passing)
            assert await stays.read_message() == b"%d" % number


# --- storms ---------------------------------------------------------------------------------------------------------


async def crowd(scene: Scene, count: int = CROWD) -> list[RawClient]:
    """So many subscribers, all of whom knock before any is answered, as far as the backlog holds them."""
    clients = await asyncio.gather(*(scene.dial() for _ in range(count)))
    for client in clients:
        await client.send(request("/t"))
    for client in clients:
        assert (await client.read_response()).status == 101
    return list(clients)


async def say_goodbye(clients: list[RawClient]) -> None:
    for client in clients:
        await client.send(close_frame())
    for client in clients:
        assert await client.read_close() == (1000, "")
        client.close()


async def just_close(clients: list[RawClient]) -> None:
    for client in clients:
        client.close()


async def reset(clients: list[RawClient]) -> None:
    for client in clients:
        client.reset()


async def break_off(clients: list[RawClient]) -> None:
    for client in clients:
        await client.send(frame(b"cut off")[:-2])
        client.close()


async def enough_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * CROWD + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.mark.parametrize(
    ("leave", "cause"), [(say_goodbye, "closed"), (just_close, "left"), (reset, "reset"), (break_off, "left")]
)
async def test_a_crowd_comes_hears_one_message_and_leaves_nothing(leave: Callable[..., object], cause: str) -> None:
    await enough_descriptors()
    async with serving(event_buffer=3 * CROWD) as scene:
        clients = await crowd(scene)
        assert scene.server.stats().subscribers == CROWD
        scene.server.publish("/t", b"everybody")
        for client in clients:
            assert await client.read_message() == b"everybody"
        await leave(clients)  # type: ignore[misc]
        await scene.wait_departures(**{cause: CROWD})
        await scene.wait_empty()
        joined = {who for _, who, _ in await scene.next_events(CROWD)}
        left = {who for _, who, _ in await scene.next_events(CROWD)}
        assert joined == left and len(joined) == CROWD
        assert scene.server.stats().memory_bytes == 0


async def test_a_crowd_that_leaves_while_a_message_goes_out_to_it_disturbs_nobody() -> None:
    async with serving() as scene:
        clients = await crowd(scene, 300)
        stays = await scene.join()
        scene.server.publish("/t", bytes(2_000_000))
        for number, client in enumerate(clients):
            (RawClient.close, RawClient.reset)[number % 2](client)
        scene.server.publish("/t", b"next")
        assert await stays.read_messages(2) == [bytes(2_000_000), b"next"]
        await wait_until(lambda: scene.server.stats().subscribers == 1, "the end of the others")
        await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")


async def test_a_crowd_that_knocks_and_runs_leaves_nothing() -> None:
    async with serving() as scene:
        for said in (b"", b"GET /t", request("/t")):
            for client in await asyncio.gather(*(scene.dial() for _ in range(300))):
                await client.send(said)
                client.reset()
        await scene.join()
        await wait_until(lambda: scene.server.stats().subscribers == 1, "one left")

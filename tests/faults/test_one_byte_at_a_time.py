"""Everything one byte at a time, from the request to the Close: it takes longer, and is the same."""

import asyncio
import os
import random

import pytest

from tests.support.rawclient import CONTINUATION, PING, PONG, TEXT, RawClient, close_frame, frame, request
from tests.support.server import PATIENCE, Scene

PUBLISHERS = 5


def conversation(random_: random.Random, who: int) -> tuple[bytes, list[bytes | str]]:
    """Frames of every kind in any order, and the messages in them, each of which begins with `who`."""
    name = f"{who} "
    kinds: list[tuple[bytes, list[bytes | str]]] = [
        (frame(name), [name.encode()]),
        (frame(name + "grün €", TEXT), [name + "grün €"]),
        (frame(name + "x" * 200), [name.encode() + b"x" * 200]),
        (frame(name, fin=False) + frame(b"?", PING) + frame(b"end", CONTINUATION), [name.encode() + b"end"]),
        (frame(name, TEXT, fin=False) + frame("ü".encode()[:1], CONTINUATION, fin=False)
         + frame("ü".encode()[1:], CONTINUATION), [name + "ü"]),
        (frame(b"unasked", PONG), []),
    ]  # fmt: skip
    chosen = kinds + random_.choices(kinds, k=6)
    random_.shuffle(chosen)
    return b"".join(data for data, _ in chosen), [message for _, messages in chosen for message in messages]


async def publish(scene: Scene, data: bytes, role: str) -> None:
    client = await scene.dial()
    await client.upgrade(request("/t", role=role), bytewise=True)
    await client.send(data + close_frame(1000, "bye"), bytewise=True)
    while (got := await client.read_frame()).opcode != 0x8:
        assert role == "duplex" or got == (PONG, b"?", True)
    assert got.payload == b"\x03\xe8"
    await client.read_end()
    client.close()


@pytest.mark.parametrize("role", ["publisher", "duplex"])
async def test_publishers_may_say_everything_one_byte_at_a_time(
    scene: Scene, role: str, random_: random.Random
) -> None:
    subscriber = await scene.dial()
    await subscriber.upgrade(request("/t"), bytewise=True)
    said = [conversation(random_, who) for who in range(PUBLISHERS)]
    await asyncio.gather(*(publish(scene, data, role) for data, _ in said))
    heard = await subscriber.read_messages(sum(len(messages) for _, messages in said))
    for who, (_, messages) in enumerate(said):
        mine = [message for message in heard if message[:1] in (str(who), b"%d" % who)]
        assert mine == messages
    await scene.wait_departures(closed=PUBLISHERS)


async def test_a_subscriber_may_say_everything_one_byte_at_a_time(scene: Scene, random_: random.Random) -> None:
    subscriber = await scene.dial()
    data, _ = conversation(random_, 0)
    await subscriber.upgrade(request("/t") + data + frame(b"last", PING), bytewise=True)
    while (await subscriber.read_frame()).payload != b"last":
        pass
    scene.server.publish("/t", b"still here")
    assert await subscriber.read_message() == b"still here"
    await subscriber.send(close_frame(), bytewise=True)
    assert await subscriber.read_close() == (1000, "")
    subscriber.close()
    await scene.wait_departures(closed=1)


async def read_bytewise(client: RawClient, size: int) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        while len(client.buffer) < size:
            client.buffer += await loop.sock_recv(client.sock, 1)


async def test_a_subscriber_may_read_one_byte_at_a_time(scene: Scene) -> None:
    """While others take the same at once; its socket holds little, so the server is held up in the middle of frames."""
    slow, fast = await scene.join(receive_buffer=2048), await scene.join()
    payloads: list[bytes | str] = [os.urandom(size) for size in (0, 1, 125, 126, 3000, 8000)]
    for payload in payloads:
        scene.server.publish("/t", bytes(payload))  # type: ignore[arg-type]
    assert await fast.read_messages(len(payloads)) == payloads
    await read_bytewise(slow, sum(2 + 2 * (len(payload) > 125) + len(payload) for payload in payloads))
    assert await slow.read_messages(len(payloads)) == payloads

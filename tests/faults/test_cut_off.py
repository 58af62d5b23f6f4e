"""A connection that ends after any byte, by a reset or by an end of stream: nothing of half a message is delivered."""

import asyncio
import os
import random
from collections.abc import Callable

import pytest

from tests.support.rawclient import CONTINUATION, PING, PONG, TEXT, RawClient, close_frame, frame, request
from tests.support.server import Scene, wait_until

ENDS: dict[str, Callable[[RawClient], None]] = {"reset": RawClient.reset, "end of stream": RawClient.close}
# Where a frame is too long to be cut at each of its bytes, so many of its places are.
PLACES = 200

# What a publisher sends, and what it would be if it were whole.
FRAMES: dict[str, tuple[bytes, list[bytes | str]]] = {
    "empty": (frame(b""), [b""]),
    "small": (frame(b"a small one"), [b"a small one"]),
    "126": (frame(b"x" * 126), [b"x" * 126]),
    "text": (frame("grün €", TEXT), ["grün €"]),
    "64 KiB": (frame(b"y" * 65_536), [b"y" * 65_536]),
    "fragments": (
        frame(b"one ", fin=False) + frame(b"two ", CONTINUATION, fin=False) + frame(b"three", CONTINUATION),
        [b"one two three"],
    ),
    "a ping between fragments": (
        frame("grün"[:3], TEXT, fin=False) + frame(b"?", PING) + frame(b"n", CONTINUATION),
        ["grün"],
    ),
    "pong": (frame(b"unasked", PONG), []),
    "close": (close_frame(1000, "bye"), []),
}


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def nothing_is_left(scene: Scene, descriptors: int) -> None:
    await wait_until(lambda: open_descriptors() == descriptors, "every descriptor back")
    await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")


def places_to_cut(random_: random.Random, data: bytes) -> list[int]:
    """Every byte, or those around the head and some others; in any order."""
    places = list(range(len(data) + 1))
    if len(places) > PLACES:
        places = places[:32] + places[-8:] + random_.sample(places[32:-8], PLACES - 40)
    random_.shuffle(places)
    return places


# --- a handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS)
async def test_a_handshake_cut_off_at_any_byte_leaves_nothing(scene: Scene, end: str, random_: random.Random) -> None:
    subscriber, publisher = await scene.join(), await scene.join(role="publisher")
    before = open_descriptors()
    for role in ("subscriber", "publisher", "duplex"):
        head = request("/t", role=role)
        for place in places_to_cut(random_, head):
            client = await scene.dial()
            await client.send(head[:place])
            if random_.random() < 0.5:
                await asyncio.sleep(0)  # seen half, or gone by the time it is accepted
            ENDS[end](client)
        await publisher.send(frame(role, TEXT))
        assert await subscriber.read_message() == role
    await nothing_is_left(scene, before)
    stats = scene.server.stats()
    assert (stats.publishers, stats.subscribers, stats.refusals) == (1, 1, {})


# --- a frame --------------------------------------------------------------------------------------------------------


async def cut_publishers(scene: Scene, end: str, data: bytes, places: list[int]) -> None:
    """A publisher for each place: `data` up to there arrives, and then the end of it."""
    publishers = [await scene.join(role="publisher") for _ in places]
    came = scene.server.stats().received_bytes + sum(places)
    for publisher, place in zip(publishers, places, strict=True):
        await publisher.send(data[:place])
    await wait_until(lambda: scene.server.stats().received_bytes == came, "everything sent")
    for publisher in publishers:
        ENDS[end](publisher)
    await wait_until(lambda: scene.server.stats().publishers == 1, "the end of them")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", FRAMES)
async def test_a_frame_cut_off_at_any_byte_is_not_delivered(
    scene: Scene, kind: str, end: str, random_: random.Random
) -> None:
    data, whole = FRAMES[kind]
    subscriber, other = await scene.join(), await scene.join(role="publisher")
    before = open_descriptors()
    await cut_publishers(scene, end, data, places_to_cut(random_, data))
    await other.send(frame(b"and on"))
    # Only the one that was cut behind its last byte is whole.
    assert await subscriber.read_messages(len(whole) + 1) == [*whole, b"and on"]
    await nothing_is_left(scene, before)
    assert set(scene.departures) <= {"left", "reset", "closed"}


@pytest.mark.parametrize("end", ENDS)
async def test_whole_messages_before_a_half_one_are_delivered(scene: Scene, end: str, random_: random.Random) -> None:
    subscriber, other = await scene.join(), await scene.join(role="publisher")
    for number in range(40):
        whole = [b"%d %d " % (number, each) * random_.randrange(1, 3000) for each in range(random_.randrange(4))]
        half = random_.choice([data for data, _ in FRAMES.values()])
        publisher = await scene.join(role="publisher")
        came = scene.server.stats().received_bytes
        data = b"".join(map(frame, whole)) + half[: random_.randrange(len(half))]
        await publisher.send(data)
        if end == "reset":
            # What has not been read when a reset comes is gone by the rules of TCP.
            await wait_until(lambda: scene.server.stats().received_bytes == came + len(data), "all of it")  # noqa: B023
        ENDS[end](publisher)
        assert await subscriber.read_messages(len(whole)) == whole
    await other.send(frame(b"and on"))
    assert await subscriber.read_message() == b"and on"


# --- a subscriber ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS)
async def test_a_subscriber_cut_off_in_the_middle_of_what_it_gets_changes_nothing_for_the_others(
    scene: Scene, end: str, random_: random.Random
) -> None:
    stays, before = await scene.join(), open_descriptors()
    for number in range(20):
        leaves = [await scene.join(receive_buffer=4096) for _ in range(5)]
        payload = random_.randbytes(random_.choice([100, 5000, 300_000]))
        scene.server.publish("/t", payload)
        for client in leaves[: number % 5]:
            await client.read_some()
        for client in leaves:
            ENDS[end](client)
        assert await stays.read_message() == payload
    await wait_until(lambda: scene.server.stats().subscribers == 1, "the end of them")
    await nothing_is_left(scene, before)

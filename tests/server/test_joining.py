"""From the 101 on a client gets everything, and its offset says where that begins; a topic outlives its clients."""

import asyncio

import pytest

from tests.support.rawclient import BINARY, RawClient, close_frame, frame, request
from tests.support.server import Scene, serving, wait_until


def offset_of(client: RawClient) -> int:
    return int(client.header["pubsub-offset"])


async def test_the_101_tells_id_epoch_and_offset() -> None:
    async with serving() as scene:
        client = await scene.join("/t", "subscriber", ("pubsub-client-name", "till"))
        assert client.client_id.startswith("till-")
        assert 0 <= int(client.header["pubsub-epoch"]) < 1 << 63
        assert client.header["pubsub-offset"] == "1"


async def test_two_topics_have_two_epochs_and_one_has_one() -> None:
    async with serving() as scene:
        epochs = [(await scene.join(topic)).header["pubsub-epoch"] for topic in ("/a", "/b", "/a")]
        assert epochs[0] == epochs[2] != epochs[1]


async def test_the_offset_is_that_of_the_first_message_it_gets() -> None:
    async with serving() as scene:
        early = await scene.join()
        offsets = [scene.server.publish("/t", b"%d" % number) for number in range(1, 6)]
        late = await scene.join()
        assert offsets == [1, 2, 3, 4, 5]
        assert offset_of(late) == scene.server.publish("/t", b"6") == 6
        assert await late.read_message() == b"6"
        assert await early.read_messages(6) == [b"%d" % number for number in range(1, 7)]


async def test_a_publisher_is_told_the_offset_of_the_next_message_too() -> None:
    async with serving() as scene:
        await scene.join()
        scene.server.publish("/t", b"1")
        assert offset_of(await scene.join("/t", "publisher")) == 2


@pytest.mark.parametrize("size", [0, 10, 5000, 200_000])
async def test_those_who_join_in_the_middle_of_a_stream_miss_nothing_from_their_offset_on(size: int) -> None:
    async with serving() as scene:
        publisher = await scene.join("/t", "publisher")
        first = await scene.join()
        stream = b"".join(frame(b"%d " % number + bytes(size)) for number in range(1, 51))

        async def feed() -> None:
            step = len(stream) // 25 + 1
            for start in range(0, len(stream), step):
                await publisher.send(stream[start : start + step])
                await asyncio.sleep(0)

        feeding = asyncio.create_task(feed())
        late = [await scene.join() for _ in range(15)]
        for client in [first, *late]:
            offset = offset_of(client)
            got = [int(bytes(message).split()[0]) for message in await client.read_messages(51 - offset)]  # type: ignore[arg-type]
            assert got == list(range(offset, 51))
        await feeding


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_frames_that_came_with_the_request_are_not_lost(bytewise: bool) -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        publisher = await scene.dial()
        early = frame(b"one") + frame("two", 0x1) + frame(b"th", fin=False)
        await publisher.upgrade(request("/t", role="publisher"), also=early, bytewise=bytewise)
        await publisher.send(frame(b"ree", 0x0))
        assert await subscriber.read_messages(3) == [b"one", "two", b"three"]


async def test_many_frames_with_the_request_and_more_right_after_it_keep_their_order() -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        publisher = await scene.dial()
        payloads = [b"%d" % number for number in range(3000)]
        frames = b"".join(map(frame, payloads))
        await publisher.send(request("/t", role="publisher") + frames[:20_001])
        await publisher.send(frames[20_001:])
        assert await subscriber.read_messages(3000) == payloads


async def test_a_publisher_that_says_everything_at_once_and_leaves_is_heard() -> None:
    for ending in (close_frame(), b""):
        async with serving() as scene:
            subscriber = await scene.join()
            publisher = await scene.dial()
            await publisher.send(request("/t", role="publisher") + frame(b"hello") + frame(bytes(100_000)) + ending)
            publisher.close()
            assert await subscriber.read_messages(2) == [b"hello", bytes(100_000)]


async def test_a_duplex_clients_first_frames_come_back_after_its_101() -> None:
    async with serving() as scene:
        client = await scene.dial()
        await client.upgrade(request("/t", role="duplex"), also=frame(b"echo"))
        assert offset_of(client) == 1
        assert await client.read_frame() == (BINARY, b"echo", True)


# --- topics outlive their clients -----------------------------------------------------------------------------------


async def leave(scene: Scene, client: RawClient) -> None:
    client.close()
    await scene.wait_empty()


async def test_an_empty_topic_keeps_its_epoch_and_offset_for_topic_linger() -> None:
    async with serving() as scene:
        before = await scene.join()
        scene.server.publish("/t", b"1")
        await leave(scene, before)
        after = await scene.join()
        assert after.header["pubsub-epoch"] == before.header["pubsub-epoch"]
        assert offset_of(after) == 2
        assert scene.server.stats().topics == 1


async def test_what_is_published_to_a_lingering_topic_counts_and_is_not_kept() -> None:
    async with serving() as scene:
        await leave(scene, await scene.join())
        assert [scene.server.publish("/t", bytes(1000)) for _ in range(3)] == [1, 2, 3]
        assert scene.server.stats().memory_bytes == 0
        assert offset_of(await scene.join()) == 4


async def test_after_topic_linger_it_is_swept_and_begins_anew() -> None:
    async with serving(topic_linger=0.05, ping_interval=0.2) as scene:
        before = await scene.join()
        scene.server.publish("/t", b"1")
        await leave(scene, before)
        await wait_until(lambda: scene.server.stats().topics == 0, "a swept topic")
        after = await scene.join()
        assert after.header["pubsub-epoch"] != before.header["pubsub-epoch"]
        assert offset_of(after) == 1


async def test_beyond_max_lingering_topics_the_longest_idle_are_swept() -> None:
    async with serving(max_lingering_topics=2, ping_interval=0.2) as scene:
        for topic in ("/a", "/b", "/c", "/d"):
            await leave(scene, await scene.join(topic))
        kept = await scene.join("/with-a-client")
        await wait_until(lambda: scene.server.stats().topics == 3, "two lingering topics and a live one")
        # Sweeping is over; what lingers is found by its offset going on.
        assert [scene.server.publish(topic, b"") for topic in ("/c", "/d", "/with-a-client")] == [1, 1, 1]
        assert [scene.server.publish(topic, b"") for topic in ("/c", "/d", "/with-a-client")] == [2, 2, 2]
        assert await kept.read_messages(2) == [b"", b""]


async def test_offsets_go_on_for_messages_to_a_topic_that_has_had_no_client_yet() -> None:
    async with serving() as scene:
        assert [scene.server.publish("/new", b"x") for _ in range(3)] == [1, 2, 3]
        assert offset_of(await scene.join("/new")) == 4

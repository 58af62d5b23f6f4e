"""Subscribing in the server's own process: messages without a connection, under the lag rules of the options."""

import asyncio
import gc
import threading

import pytest

from pubsub import Reader
from pubsub.errors import MisuseError, TooFarBehind
from tests.support.rawclient import frame
from tests.support.server import PATIENCE, serving, wait_until

BOTH_MODES = pytest.mark.parametrize("io_threads", [0, 1])


async def take(reader: Reader, count: int) -> list[bytes | str]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(reader) for _ in range(count)]


async def rest_of(reader: Reader) -> list[bytes | str]:
    async with asyncio.timeout(PATIENCE):
        return [message async for message in reader]


@BOTH_MODES
async def test_it_gets_what_clients_and_the_program_publish_in_the_topics_order(io_threads: int) -> None:
    async with serving(io_threads=io_threads) as scene, scene.server.subscribe("/t") as reader:
        publisher = await scene.join("/t", "publisher")
        subscriber = await scene.join("/t")
        await publisher.send(frame(b"from a client"))
        assert await take(reader, 1) == [b"from a client"]
        scene.server.publish("/t", "from here é")
        assert await take(reader, 1) == ["from here é"]
        assert [await subscriber.read_message() for _ in range(2)] == [b"from a client", "from here é"]
        assert (reader.offset, reader.lag_bytes) == (3, 0)


@BOTH_MODES
async def test_one_that_waits_is_told_by_another_thread(io_threads: int) -> None:
    async with serving(io_threads=io_threads) as scene, scene.server.subscribe("/t") as reader:
        taking = asyncio.create_task(take(reader, 500))
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: [scene.server.publish("/t", b"%d" % n) for n in range(500)])
        thread.start()
        assert await taking == [b"%d" % n for n in range(500)]
        thread.join()


async def test_what_is_published_before_the_iteration_begins_is_not_lost() -> None:
    async with serving() as scene:
        scene.server.publish("/t", b"before")
        reader = scene.server.subscribe("/t")
        assert scene.server.publish("/t", b"after") == reader.offset == 2
        assert await take(reader, 1) == [b"after"]
        reader.close()


async def test_many_readers_of_many_topics_get_their_own() -> None:
    async with serving() as scene:
        readers = {(topic, each): scene.server.subscribe(f"/{topic}") for topic in range(20) for each in range(3)}
        for topic in range(20):
            for number in range(50):
                scene.server.publish(f"/{topic}", f"{topic} {number}")
        for (topic, _), reader in readers.items():
            assert await take(reader, 50) == [f"{topic} {number}" for number in range(50)]
            reader.close()


async def test_tasks_that_share_a_reader_share_its_messages() -> None:
    async with serving() as scene, scene.server.subscribe("/t") as reader:
        tasks = [asyncio.create_task(take(reader, 10)) for _ in range(4)]
        await asyncio.sleep(0)
        for number in range(40):
            scene.server.publish("/t", b"%d" % number)
        got = sorted(int(message) for messages in await asyncio.gather(*tasks) for message in messages)
        assert got == list(range(40))


async def test_too_far_behind_it_ends_with_an_error_that_says_so() -> None:
    async with serving(max_lag_bytes=100_000) as scene:
        quick, slow = scene.server.subscribe("/t"), scene.server.subscribe("/t")
        for _ in range(300):
            scene.server.publish("/t", bytes(1000))
            await take(quick, 1)
        with pytest.raises(TooFarBehind, match="max_lag_bytes=100000"):
            await take(slow, 1)
        assert await rest_of(slow) == []
        assert scene.server.publish("/t", b"x") == 301
        assert await take(quick, 1) == [b"x"]
        quick.close()


async def test_a_flood_of_a_client_waits_for_a_reader() -> None:
    async with serving(max_lag_bytes=1_000_000) as scene, scene.server.subscribe("/t") as reader:
        publisher = await scene.join("/t", "publisher")

        async def flood() -> None:
            for number in range(300):
                await publisher.send(frame(b"%6d" % number + bytes(20_000)))

        flooding = asyncio.create_task(flood())
        for number in range(300):
            [message] = await take(reader, 1)
            assert int(message[:6]) == number
        await flooding


async def test_iterating_ends_when_the_server_is_closed() -> None:
    async with serving() as scene:
        reader = scene.server.subscribe("/t")
        ending = asyncio.create_task(rest_of(reader))
        await asyncio.sleep(0)
        await scene.server.close()
        assert await ending == []
        with pytest.raises(MisuseError, match="closed"):
            scene.server.subscribe("/t")


async def test_with_a_drain_it_gets_everything_before_the_end() -> None:
    async with serving() as scene:
        reader = scene.server.subscribe("/t")
        for number in range(2000):
            scene.server.publish("/t", b"%d" % number)
        ending = asyncio.create_task(rest_of(reader))
        await scene.server.close(drain=PATIENCE)
        assert await ending == [b"%d" % number for number in range(2000)]


async def test_one_that_nobody_reads_does_not_stop_a_drain_for_ever() -> None:
    async with serving() as scene:
        reader = scene.server.subscribe("/t")
        scene.server.publish("/t", b"x")
        async with asyncio.timeout(PATIENCE):
            await scene.server.close(drain=0.05)
        assert await rest_of(reader) == []


async def test_leaving_the_block_ends_it_and_lets_go_of_the_log() -> None:
    async with serving() as scene:
        async with scene.server.subscribe("/t") as reader:
            scene.server.publish("/t", bytes(10_000))
        assert await rest_of(reader) == []
        await wait_until(lambda: scene.server.stats().memory_bytes == 0)


async def test_one_that_is_dropped_lets_go_of_the_log() -> None:
    async with serving() as scene:
        reader = scene.server.subscribe("/t")
        scene.server.publish("/t", bytes(10_000))
        assert scene.server.stats().memory_bytes > 0
        del reader
        gc.collect()
        assert scene.server.stats().memory_bytes == 0


async def test_a_topic_is_a_path() -> None:
    async with serving() as scene:
        with pytest.raises(MisuseError):
            scene.server.subscribe("no path")
        async with scene.server.subscribe("/grün") as reader:
            scene.server.publish("/gr%C3%BCn", b"x")
            assert await take(reader, 1) == [b"x"]

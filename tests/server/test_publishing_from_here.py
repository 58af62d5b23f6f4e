"""Publishing from the server's own process: from any thread, never blocking, and with a way to wait for room."""

import asyncio
import contextlib
import sys
import threading
from array import array
from collections.abc import Iterator

import pytest

from pubsub.errors import MisuseError, Overloaded, PubSubError
from tests.support.server import PATIENCE, Scene, serving, wait_until

MIB = 1 << 20


@pytest.mark.parametrize(
    ("data", "arrives"),
    [
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"a view")[2:], b"view"),
        (memoryview(b"every other")[::2], b"eeyohr"),
        (array("H", [0x4142, 0x4344]), array("H", [0x4142, 0x4344]).tobytes()),
        ("grün €", "grün €"),
        (b"", b""),
        ("", ""),
    ],
    ids=repr,
)
async def test_bytes_arrive_as_binary_and_str_as_text(data: "bytes | str", arrives: "bytes | str") -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        assert scene.server.publish("/t", data) == 1
        assert await subscriber.read_message() == arrives


async def test_the_data_may_be_reused_on_return() -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        data = bytearray(b"first")
        scene.server.publish("/t", data)
        data[:] = b"other"
        data.clear()
        assert await subscriber.read_message() == b"first"


@pytest.mark.parametrize(
    ("topic", "target"),
    [
        ("/grün", "/gr%C3%BCn"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/€/😀", "/%E2%82%AC/%F0%9F%98%80"),
        ("/", "/"),
    ],
)
async def test_a_topic_is_escaped_as_a_browser_would(topic: str, target: str) -> None:
    async with serving() as scene:
        subscriber = await scene.join(target)
        scene.server.publish(topic, b"there")
        assert await subscriber.read_message() == b"there"


@pytest.mark.parametrize("topic", ["t", "", "ws://host/t", " /t", "/t?x=1", "/t#x", "/\ud800", 7, None, b"/t"])
async def test_a_topic_that_is_no_path_is_a_misuse(topic: str) -> None:
    async with serving() as scene:
        with pytest.raises(MisuseError, match="topic"):
            scene.server.publish(topic, b"x")
        with pytest.raises(MisuseError, match="topic"):
            await scene.server.room(topic)


@pytest.mark.parametrize("data", [7, None, ["x"], "\ud800"], ids=repr)
async def test_data_that_is_no_message_is_refused_and_nothing_is_published(data: bytes) -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        with pytest.raises((TypeError, PubSubError)):
            scene.server.publish("/t", data)
        assert scene.server.publish("/t", b"next") == 1
        assert await subscriber.read_message() == b"next"


# --- threads --------------------------------------------------------------------------------------------------------


@pytest.fixture
def eager_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switches")
async def test_threads_may_publish_while_the_loop_does() -> None:
    async with serving() as scene:
        subscribers = [await scene.join() for _ in range(3)]
        offsets: dict[tuple[int, int], int] = {}

        def publish(who: int) -> None:
            for number in range(500):
                offsets[who, number] = scene.server.publish("/t", b"%d %d" % (who, number))

        threads = [threading.Thread(target=publish, args=(who,)) for who in range(1, 4)]
        for thread in threads:
            thread.start()
        publish(0)
        messages = await asyncio.gather(*(subscriber.read_messages(2000) for subscriber in subscribers))
        for thread in threads:
            thread.join()
        assert messages[0] == messages[1] == messages[2]
        # A message's place is the offset that its publisher was told.
        keys = [tuple(map(int, bytes(message).split())) for message in messages[0]]  # type: ignore[arg-type]
        assert [offsets[who, number] for who, number in keys] == list(range(1, 2001))


async def test_a_thread_wakes_a_loop_that_has_nothing_to_do() -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        for number in range(20):
            reading = asyncio.create_task(subscriber.read_message())
            thread = threading.Thread(target=scene.server.publish, args=("/t", b"%d" % number))
            thread.start()
            assert await reading == b"%d" % number
            thread.join()


@pytest.mark.usefixtures("eager_switches")
async def test_threads_that_name_a_new_topic_at_once_mean_the_same_topic() -> None:
    async with serving() as scene:
        for turn in range(200):
            barrier = threading.Barrier(4)
            offsets: list[int] = []

            def publish(topic: str, barrier: threading.Barrier = barrier, offsets: list[int] = offsets) -> None:
                barrier.wait()
                offsets.append(scene.server.publish(topic, b"x"))

            threads = [threading.Thread(target=publish, args=(f"/{turn}",)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(offsets) == [1, 2, 3, 4], turn


# --- the memory limit -----------------------------------------------------------------------------------------------


async def fill(scene: Scene) -> int:
    """Publishes until there is no memory left; how many messages it took."""
    count = 0
    with pytest.raises(Overloaded, match="max_memory_bytes=4194304"):
        while True:
            scene.server.publish("/t", bytes(100_000))
            count += 1
    return count


async def test_at_the_memory_limit_publish_raises_and_appends_nothing() -> None:
    async with serving(max_memory_bytes=4 * MIB) as scene:
        subscriber = await scene.join()
        count = await fill(scene)
        assert scene.server.stats().memory_bytes <= 4 * MIB
        with pytest.raises(Overloaded):
            scene.server.publish("/t", bytes(5 * MIB))
        messages = await subscriber.read_messages(count)
        assert messages == [bytes(100_000)] * count
        assert scene.server.publish("/t", b"next") == count + 1
        assert await subscriber.read_message() == b"next"


async def test_room_waits_until_there_is_room_and_wakes_everybody_who_waits() -> None:
    async with serving(max_memory_bytes=4 * MIB) as scene:
        subscriber = await scene.join(receive_buffer=4096)
        await fill(scene)
        waiting = [asyncio.create_task(scene.server.room("/t")) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, timeout=0.05)
        assert not done
        reading = asyncio.create_task(subscriber.read_messages(1000))
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
        scene.server.publish("/t", b"there is room")
        reading.cancel()


async def test_room_returns_at_once_where_there_is_room() -> None:
    async with serving() as scene:
        await asyncio.wait_for(scene.server.room("/new"), PATIENCE)


async def test_room_waits_while_the_topic_is_paced() -> None:
    async with serving(pace_lag_bytes=100_000) as scene:
        subscriber = await scene.join(receive_buffer=4096)
        scene.server.publish("/t", bytes(3 * MIB))
        await wait_until(lambda: scene.server.stats().sent_bytes > 5000, "a begun message")
        scene.server.publish("/t", bytes(3 * MIB))
        room = asyncio.create_task(scene.server.room("/t"))
        other = asyncio.create_task(scene.server.room("/other"))
        await asyncio.wait_for(other, PATIENCE)
        assert not room.done()
        assert await subscriber.read_messages(2) == [bytes(3 * MIB)] * 2
        await asyncio.wait_for(room, PATIENCE)


async def test_those_who_wait_for_room_do_not_wait_beyond_the_end() -> None:
    async with serving(max_memory_bytes=4 * MIB) as scene:
        await scene.join(receive_buffer=4096)
        await fill(scene)
        room = asyncio.create_task(scene.server.room("/t"))
        await asyncio.sleep(0)
        await scene.server.close()
        with contextlib.suppress(MisuseError):
            await asyncio.wait_for(room, PATIENCE)


async def test_after_the_end_room_is_a_misuse() -> None:
    async with serving() as scene:
        await scene.server.close()
        with pytest.raises(MisuseError, match="closed"):
            await scene.server.room("/t")


async def test_a_writer_that_waits_for_room_loses_nothing_and_stays_within_the_limit() -> None:
    async with serving(max_memory_bytes=4 * MIB) as scene:
        readers = [await scene.join() for _ in range(3)]
        payloads = [bytes([number]) * 200_000 for number in range(100)]

        async def write() -> None:
            for payload in payloads:
                await scene.server.room("/t")
                scene.server.publish("/t", payload)

        writing = asyncio.create_task(write())
        got = await asyncio.gather(*(reader.read_messages(100) for reader in readers))
        await writing
        assert got == [payloads] * 3

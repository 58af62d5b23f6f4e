"""The policies of `overflow`, through real sockets and slow readers: what a client gets, and what the others notice."""

import asyncio

import pytest

from tests.support.rawclient import RawClient, frame, request
from tests.support.server import Scene, serving, wait_until

KIB = 1 << 10
MIB = 1 << 20
Message = bytes | str


def numbered(count: int, size: int) -> list[bytes]:
    return [b"%d " % number + bytes(size) for number in range(count)]


def numbers(messages: list[Message]) -> list[int]:
    return [int(bytes(message).split(b" ")[0]) for message in messages]  # type: ignore[arg-type]


def skipped(scene: Scene) -> tuple[int, int]:
    stats = scene.server.stats()
    return stats.skipped_messages, stats.skips


async def read_up_to(client: RawClient, last: bytes) -> list[Message]:
    """All messages up to `last`."""
    messages: list[Message] = []
    while not messages or messages[-1] != last:
        messages.append(await client.read_message())
    return messages


def gaps(got: list[int]) -> int:
    return sum(after != before + 1 for before, after in zip([-1, *got], got, strict=False))


# --- the 101 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "counts"), [("disconnect", True), ("block", True), ("skip", False), ("latest", False)]
)
@pytest.mark.parametrize("role", ["subscriber", "publisher", "duplex"])
async def test_only_where_nothing_is_skipped_the_101_has_an_offset(policy: str, counts: bool, role: str) -> None:
    async with serving(overflow={"/t": policy}) as scene:
        client = await scene.join("/t", role)
        assert client.response is not None
        assert ("pubsub-offset" in client.response.headers) == counts
        assert {"pubsub-epoch", "pubsub-client-id"} <= set(client.response.headers)


async def test_a_topic_follows_the_first_rule_that_matches_its_escaped_path() -> None:
    rules = ["/prices/audit=block", "/prices/*=latest", "/café/**=skip"]
    async with serving(overflow=rules) as scene:
        for topic, counts in {
            "/prices/eur": False,
            "/prices/audit": True,
            "/prices": True,
            "/prices/eur/usd": True,
            "/caf%C3%A9": False,
            "/caf%C3%A9/a/b": False,
            "/caf%c3%a9": True,
            "/prices/eur?pubsub=subscriber": False,
        }.items():
            client = await scene.dial()
            await client.upgrade(request(topic))
            assert ("pubsub-offset" in client.header) == counts, topic


# --- latest -----------------------------------------------------------------------------------------------------------


async def test_latest_sends_whole_messages_in_order_with_the_newest_at_the_end() -> None:
    messages = numbered(300, 100 * KIB)
    async with serving(overflow={"/t": "latest"}) as scene:
        slow, fast = await scene.join(receive_buffer=4096), await scene.join()
        for message in messages:
            scene.server.publish("/t", message)
            assert await fast.read_message() == message
        got = numbers(await read_up_to(slow, messages[-1]))
        assert got == sorted(set(got)) and len(got) < 300
        assert skipped(scene) == (300 - len(got), gaps(got))
        assert scene.departures == {}


async def test_latest_keeps_only_the_newest_for_one_that_does_not_read() -> None:
    async with serving(overflow={"/t": "latest"}) as scene:
        slow = await scene.join(receive_buffer=4096)
        for number in range(200):
            scene.server.publish("/t", b"%d " % number + bytes(MIB))
            await asyncio.sleep(0)
        await wait_until(lambda: scene.server.stats().memory_bytes <= 8 * MIB, "little memory")
        assert numbers(await read_up_to(slow, b"199 " + bytes(MIB)))[-1] == 199


async def test_latest_reaches_one_that_reads_a_little_at_a_time_with_messages_that_are_new() -> None:
    """A price of a second ago must not lie in the kernel before that of now."""
    messages = numbered(3000, 2 * KIB)
    async with serving(overflow={"/t": "latest"}) as scene:
        slow = await scene.join(receive_buffer=4096)
        behind, got = [], []
        for number, message in enumerate(messages):
            scene.server.publish("/t", message)
            await asyncio.sleep(0)
            if number % 10 == 9:
                # A fifth of what is published; without skipping it would be 2,400 behind in the end.
                got += numbers(await slow.read_messages(2))
                behind.append(number - got[-1])
        if got[-1] != 2999:  # where the server is slower than this loop it has everything
            got += numbers(await read_up_to(slow, messages[-1]))
        assert got == sorted(set(got))
        assert len(got) + skipped(scene)[0] == 3000
        # What the kernel of either side held, and no more.
        assert max(behind) < 500


# --- skip -------------------------------------------------------------------------------------------------------------


async def test_skip_leaves_out_whole_messages_and_counts_them_exactly() -> None:
    messages = numbered(400, 50 * KIB)
    rule = "/t=skip,max_lag_bytes=2MiB"
    async with serving(overflow=[rule]) as scene:
        slow, publisher = await scene.join(receive_buffer=4096), await scene.join(role="publisher")
        good = [await scene.join() for _ in range(2)]
        early: list[Message] = []
        for number, message in enumerate(messages):
            await publisher.send(frame(message))
            for client in good:
                assert await client.read_message() == message
            if number % 40 == 39:
                early += await slow.read_messages(3)
        got = numbers(early + await read_up_to(slow, messages[-1]))
        assert got == sorted(set(got))
        assert skipped(scene) == (400 - len(got), gaps(got))
        assert 0 < skipped(scene)[0] < 400
        # What was within the bound at the end was not left out.
        assert got[-38:] == list(range(362, 400))
        assert scene.departures == {}


async def test_skip_with_a_bound_of_messages_leaves_the_last_of_them() -> None:
    async with serving(overflow=["/t=skip,max_lag_messages=5"]) as scene:
        slow = await scene.join(receive_buffer=4096)
        messages = numbered(100, MIB // 4)
        for message in messages:
            scene.server.publish("/t", message)
            await asyncio.sleep(0)
        await wait_until(lambda: scene.server.stats().memory_bytes < 4 * MIB, "skipped messages")
        got = numbers(await read_up_to(slow, messages[-1]))
        assert got[-5:] == [95, 96, 97, 98, 99]
        # One gap; two where the kernel takes another message between two looks at who is behind.
        assert skipped(scene) == (100 - len(got), gaps(got))


# --- block ------------------------------------------------------------------------------------------------------------


async def test_block_loses_nothing_and_holds_the_publisher() -> None:
    """One slow reader of three would be closed under `disconnect`: it never is farther behind than its bound here."""
    messages = numbered(300, 50 * KIB)
    async with serving(overflow=["/t=block,max_lag_bytes=1MiB"]) as scene:
        slow, publisher = await scene.join(receive_buffer=4096), await scene.join(role="publisher")
        good = [await scene.join() for _ in range(2)]
        held: list[int] = []

        async def flood() -> None:
            for message in messages:
                await publisher.send(frame(message))

        async def read_slowly() -> list[Message]:
            got: list[Message] = []
            while len(got) < 300:
                got.append(await slow.read_message())
                held.append(scene.server.stats().memory_bytes)
                await asyncio.sleep(0.001)
            return got

        flooding = asyncio.create_task(flood())
        reading = [asyncio.create_task(client.read_messages(300)) for client in good]
        assert await read_slowly() == messages
        assert [await task for task in reading] == [messages] * 2
        await flooding
        assert scene.server.stats().held_publishers > 0
        assert max(held) < 3 * MIB
        assert skipped(scene) == (0, 0)
        assert scene.departures == {}


async def test_under_block_room_is_told_when_the_slow_one_is_back_within_the_bound() -> None:
    async with serving(overflow=["/t=block,max_lag_bytes=1MiB"]) as scene:
        slow, _fast = await scene.join(receive_buffer=4096), await scene.join(receive_buffer=65536)
        payload = bytes(8 * MIB)
        scene.server.publish("/t", payload)
        await wait_until(lambda: scene.server.topic("/t").paced, "a paced topic")
        room = asyncio.create_task(scene.server.room("/t"))
        await asyncio.sleep(0.05)
        assert not room.done()
        _fast.close()
        assert await slow.read_message() == payload
        await asyncio.wait_for(room, 10)


# --- under every policy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["disconnect", "skip", "latest", "block"])
async def test_one_that_never_reads_is_stalled_under_every_policy(policy: str) -> None:
    async with serving(overflow={"/**": policy}, subscriber_write_timeout=0.3, close_deadline=0.2) as scene:
        _stalled, good = await scene.join(receive_buffer=4096), await scene.join()
        for number in range(20):
            scene.server.publish("/t", b"%d " % number + bytes(MIB))
            await good.read_message()
        await scene.wait_departures(stalled=1)
        await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")


async def test_at_the_end_those_who_skip_get_what_is_due_and_a_1012() -> None:
    async with serving(overflow={"/t": "latest"}) as scene:
        slow = await scene.join(receive_buffer=4096)
        messages = numbered(30, MIB)
        for message in messages:
            scene.server.publish("/t", message)
            await asyncio.sleep(0)
        closing = asyncio.create_task(scene.server.close(drain=10))
        got = numbers(await read_up_to(slow, messages[-1]))
        assert got == sorted(set(got))
        assert (await slow.read_close())[0] == 1012
        slow.close()
        await closing

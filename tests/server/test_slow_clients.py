"""Clients that read or send too slowly: they end, their memory is back, and nobody else notices."""

import asyncio
import contextlib

import pytest

from tests.support.rawclient import CONTINUATION, TEXT, RawClient, frame
from tests.support.server import Scene, serving, wait_until

TRY_LATER, POLICY = 1013, 1008
MIB = 1 << 20
# More than the kernel's buffers of one connection take.
FULL = 8 * MIB


async def memory_is_back(scene: Scene) -> None:
    await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")


async def fed_well(scene: Scene, subscriber: RawClient, publisher: RawClient, until: str) -> None:
    """Messages go from the one to the other, each at once, until a departure of that cause."""
    number = 0
    while until not in scene.departures:
        await publisher.send(frame(b"%d" % number) + frame(bytes(10_000)))
        assert await subscriber.read_messages(2) == [b"%d" % number, bytes(10_000)]
        number += 1
    assert scene.departures == {until: 1}


# --- stalled --------------------------------------------------------------------------------------------------------


async def test_a_subscriber_that_never_reads_is_stalled_and_gives_its_memory_back() -> None:
    async with serving(subscriber_write_timeout=0.3, close_deadline=0.2) as scene:
        stalled = await scene.join(receive_buffer=4096)
        for _ in range(8):
            scene.server.publish("/t", bytes(MIB))
        assert scene.server.stats().memory_bytes >= FULL - MIB
        await scene.wait_departures(stalled=1)
        await memory_is_back(scene)
        await stalled.read_reset()


async def test_a_stalled_subscriber_changes_nothing_for_the_others() -> None:
    async with serving(subscriber_write_timeout=0.3, close_deadline=0.2) as scene:
        await scene.join(receive_buffer=4096)
        good, publisher = await scene.join(), await scene.join(role="publisher")
        scene.server.publish("/t", bytes(FULL))
        assert await good.read_message() == bytes(FULL)
        await fed_well(scene, good, publisher, "stalled")
        await memory_is_back(scene)


async def test_a_stalled_subscriber_that_reads_again_within_close_deadline_gets_its_close() -> None:
    async with serving(subscriber_write_timeout=0.3) as scene:
        stalled = await scene.join(receive_buffer=4096)
        scene.server.publish("/t", bytes(FULL))
        scene.server.publish("/t", b"never seen")
        await wait_until(lambda: scene.server.stats().limited, "the end of its time")
        assert await stalled.read_message() == bytes(FULL)
        code, reason = await stalled.read_close()
        assert code == TRY_LATER and "subscriber_write_timeout" in reason
        stalled.close()
        await scene.wait_departures(stalled=1)
        await memory_is_back(scene)


async def test_a_subscriber_that_reads_a_little_now_and_then_is_not_stalled() -> None:
    async with serving(subscriber_write_timeout=0.3) as scene:
        slow = await scene.join(receive_buffer=4096)
        scene.server.publish("/t", bytes(FULL))
        now = asyncio.get_running_loop().time
        end = now() + 1.0

        def read_a_little() -> bool:
            with contextlib.suppress(BlockingIOError):
                slow.buffer += slow.sock.recv(8192)
            return now() > end

        await wait_until(read_a_little)
        assert scene.departures == {}
        assert await slow.read_message() == bytes(FULL)


# --- too far behind -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"max_lag_bytes": 2 * MIB}, {"max_lag_messages": 20}, {"max_lag_age": 0.2}],
    ids=["bytes", "messages", "age"],
)
async def test_a_subscriber_too_far_behind_is_closed_with_1013(options: dict[str, float]) -> None:
    async with serving(**options) as scene:
        slow, good = await scene.join(receive_buffer=4096), await scene.join()
        payloads = [bytes([number]) * (MIB // 4) for number in range(40)]
        for number, payload in enumerate(payloads):
            # Only as fast as the good one reads: it is never behind.
            scene.server.publish("/t", payload)
            assert await good.read_message() == payload, number
        # What is left is the frame that the slow one is in the middle of.
        await wait_until(lambda: scene.server.stats().memory_bytes < MIB, "a verdict")
        code, reason, complete = await read_to_close(slow, payloads)
        assert code == TRY_LATER and "too far behind" in reason
        assert complete < 40
        slow.close()
        await scene.wait_departures(too_far_behind=1)
        await memory_is_back(scene)


async def read_to_close(client: RawClient, expected: list[bytes]) -> tuple[int | None, str, int]:
    """The Close, and how many whole messages came before it: those that were due, in order."""
    for count, payload in enumerate(expected):
        got = await client.read_frame()
        if got.opcode == 0x8:
            return int.from_bytes(got.payload[:2], "big"), got.payload[2:].decode(), count
        assert got.payload == payload
    raise AssertionError("it got everything")


async def test_those_within_their_bounds_stay_however_many_fall_behind() -> None:
    async with serving(max_lag_bytes=MIB) as scene:
        slow = [await scene.join(receive_buffer=4096) for _ in range(10)]
        good = [await scene.join() for _ in range(3)]
        publisher = await scene.join(role="publisher")
        for number in range(60):
            payload = bytes([number]) * (MIB // 8)
            await publisher.send(frame(payload))
            for client in good:
                assert await client.read_message() == payload
        for client in slow:
            client.close()
        await wait_until(lambda: sum(scene.departures.values()) == 10, "ten departures")
        assert set(scene.departures) <= {"too_far_behind", "left", "reset"}
        assert scene.departures["too_far_behind"] >= 1
        await memory_is_back(scene)


async def test_a_publisher_that_outruns_everybody_is_paced_and_nobody_is_disconnected() -> None:
    async with serving(max_lag_bytes=2 * MIB, pace_lag_bytes=MIB // 2) as scene:
        # Two, so that one is half of them: of three the one that TCP holds up longest may be left behind, by rule.
        readers = [await scene.join(receive_buffer=65536) for _ in range(2)]
        publisher = await scene.join(role="publisher")
        payloads = [bytes([number]) * 50_000 for number in range(200)]

        async def flood() -> None:
            for payload in payloads:
                await publisher.send(frame(payload))

        flooding = asyncio.create_task(flood())
        await wait_until(lambda: scene.server.stats().held_publishers, "a held publisher")
        got = await asyncio.gather(*(reader.read_messages(200) for reader in readers))
        await flooding
        assert got == [payloads] * 2
        assert scene.departures == {}


# --- messages that do not end ---------------------------------------------------------------------------------------

QUICK = {"message_timeout": 0.3, "ping_interval": 0.2, "pong_deadline": 5.0}


@pytest.mark.parametrize(
    "begun",
    [frame(b"begun", fin=False), frame("begun", TEXT, fin=False), frame(bytes(200_000))[:-1], frame(bytes(1000))[:-1]],
    ids=["fragment", "text", "large frame", "frame for the lane"],
)
async def test_a_message_that_does_not_end_closes_its_publisher_with_1008(begun: bytes) -> None:
    async with serving(**QUICK) as scene:
        good, publisher = await scene.join(), await scene.join(role="publisher")
        bad = await scene.join(role="publisher")
        bad.answers_pings = False  # its pong would become a part of its frame
        await bad.send(frame(b"complete") + begun)
        code, reason = await bad.read_close()
        assert code == POLICY and "message_timeout=0.3 s" in reason
        await bad.read_end()
        await publisher.send(frame(b"next"))
        assert await good.read_messages(2) == [b"complete", b"next"]
        await memory_is_back(scene)


async def test_fragments_do_not_extend_the_time_of_their_message() -> None:
    async with serving(**QUICK) as scene:
        bad = await scene.join(role="publisher")
        await bad.send(frame(b"begun", fin=False))

        def closed() -> bool:
            with contextlib.suppress(OSError):
                bad.sock.send(frame(b"more", CONTINUATION, fin=False))
            with contextlib.suppress(BlockingIOError):
                bad.buffer += bad.sock.recv(1000)
            return len(bad.buffer) > 4

        await wait_until(closed, "a Close")
        assert (await bad.read_close())[0] == POLICY


async def test_every_message_has_its_own_time() -> None:
    async with serving(**QUICK) as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        now = asyncio.get_running_loop().time
        end, count = now() + 0.8, 0
        while now() < end:
            await publisher.send(frame(b"a", fin=False))
            await publisher.send(frame(b"b", CONTINUATION))
            assert await subscriber.read_message() == b"ab"
            count += 1
        assert count > 1 and scene.departures == {}


async def test_a_message_has_all_of_message_timeout_however_long_the_pings_intervals_are() -> None:
    async with serving(message_timeout=0.6, ping_interval=60.0, pong_deadline=60.0) as scene:
        bad = await scene.join(role="publisher")
        now = asyncio.get_running_loop().time
        # Just before a look that comes once a second.
        begin = now() + 0.8
        await wait_until(lambda: now() > begin)
        begun = now()
        await bad.send(frame(b"begun", fin=False))
        assert (await bad.read_close())[0] == POLICY
        # Less the two ticks that one step may count.
        assert now() - begun > 0.4


# --- memory ---------------------------------------------------------------------------------------------------------

# Longer than a test: nothing here waits for the end of a message's time.
UNHURRIED = {"message_timeout": 60.0}


async def test_messages_that_never_end_do_not_keep_memory_from_the_others_for_ever() -> None:
    options = UNHURRIED | {"max_memory_bytes": 8 * MIB, "max_message_bytes": 4 * MIB}
    async with serving(**options) as scene:
        greedy = [await scene.join("/greedy", "publisher") for _ in range(3)]
        # Each in a block of a power of two: 2 MiB, 1 MiB, 1 MiB, which is half of the limit.
        for client, size in zip(greedy, (3 * MIB // 2, 3 * MIB // 4, 3 * MIB // 4), strict=True):
            await client.send(frame(b"", announced=4 * MIB) + bytes(size))
        await wait_until(lambda: scene.server.stats().memory_bytes >= 4 * MIB, "memory in use")
        for client in greedy:
            await client.send(b"still here")
        good, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(frame(b"at last"))
        assert await good.read_message() == b"at last"


async def test_neither_do_they_where_a_slow_subscriber_paces_their_topic() -> None:
    options = UNHURRIED | {"max_memory_bytes": 16 * MIB, "max_message_bytes": 8 * MIB, "pace_lag_bytes": MIB}
    async with serving(**options) as scene:
        sips = await scene.join("/greedy", receive_buffer=4096)
        greedy = [await scene.join("/greedy", "publisher") for _ in range(3)]
        for _ in range(4):
            scene.server.publish("/greedy", bytes(MIB))
        # With the log's 4 MiB, blocks of 4, 4 and 2 MiB are over four fifths.
        for client, size in zip(greedy, (3 * MIB, 3 * MIB, 3 * MIB // 2), strict=True):
            await client.send(frame(b"", announced=8 * MIB) + bytes(size))
        await wait_until(lambda: scene.server.stats().memory_bytes > 13 * MIB, "memory in use")
        good, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(frame(b"at last"))
        reading = asyncio.create_task(good.read_message())
        now = asyncio.get_running_loop().time
        next_sip = now()

        def delivered() -> bool:
            # It takes some bytes all the time, so it moves, and lags.
            nonlocal next_sip
            if now() >= next_sip:
                next_sip = now() + 0.05
                with contextlib.suppress(BlockingIOError):
                    sips.sock.recv(1 << 16)
            return reading.done()

        await wait_until(delivered, "a delivery on another topic")
        assert await reading == b"at last"


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "wsproto"])
async def test_messages_that_arrive_are_not_ended_for_what_logs_fill(lane: bool) -> None:
    # Longer than the test, for the one that does not read.
    patient = {"subscriber_write_timeout": 60.0, "message_timeout": 60.0}
    async with serving(lane=lane, max_memory_bytes=8 * MIB, pace_lag_bytes=7 * MIB, **patient) as scene:
        await scene.join("/full", receive_buffer=4096)
        senders = [await scene.join(role="publisher") for _ in range(2)]
        while scene.server.stats().memory_bytes < 6.7 * MIB:
            scene.server.publish("/full", bytes(MIB // 10))
            await asyncio.sleep(0)
        for sender in senders:
            await sender.send(frame(b"a" * 3000, fin=False))
        await wait_until(lambda: scene.server.stats().received_bytes >= 6000, "two halves")
        for sender in senders:
            await sender.send(frame(b"b", 0x0, fin=False))
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert scene.departures == {}
        assert scene.server.stats().limited == {}

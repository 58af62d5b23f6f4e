"""What a server tells of itself: events to whoever wants them, bounded, and counts at any moment."""

import asyncio
import gc
import json

import pytest

from pubsub.events import EventType
from pubsub.stats import Stats
from tests.support.rawclient import PING, close_frame, frame, request
from tests.support.server import PATIENCE, Scene, serving, wait_until


async def refuse(scene: Scene, times: int) -> None:
    for number in range(times):
        await scene.ask(request(f"/{number}", role=None))


# --- events ---------------------------------------------------------------------------------------------------------


async def test_a_stream_holds_event_buffer_events_and_counts_what_it_drops() -> None:
    async with serving(event_buffer=3) as scene:
        await refuse(scene, 10)
        assert scene.events.dropped == 7
        assert scene.server.stats().events_dropped == 7
        # The oldest are kept: what they say is what happened first.
        assert [topic for _, _, topic in await scene.next_events(3)] == ["/0", "/1", "/2"]
        await refuse(scene, 1)
        assert (await scene.next_event()).subscription_topic == "/0"
        assert scene.events.dropped == 7


async def test_every_stream_gets_every_event_from_its_opening_on() -> None:
    async with serving(event_buffer=2) as scene:
        await refuse(scene, 1)
        late = scene.server.events()
        await refuse(scene, 2)
        assert [(await anext(late)).subscription_topic for _ in range(2)] == ["/0", "/1"]
        assert (late.dropped, scene.events.dropped) == (0, 1)


async def test_a_slow_reader_of_events_holds_up_nobody() -> None:
    async with serving(event_buffer=1) as scene:
        fast = scene.server.events()
        for number in range(50):
            await scene.ask(request(f"/{number}", role=None))
            async with asyncio.timeout(PATIENCE):
                assert (await anext(fast)).subscription_topic == f"/{number}"
        assert scene.events.dropped == 49


async def test_a_reader_that_waits_is_woken_by_the_next_event_and_by_the_end() -> None:
    async with serving() as scene:
        waiting = asyncio.create_task(anext(scene.events))
        await refuse(scene, 1)
        assert (await asyncio.wait_for(waiting, PATIENCE)).type is EventType.BAD_HTTP_HEADERS
        ending = asyncio.create_task(read_all(scene))
        await scene.server.close()
        assert await asyncio.wait_for(ending, PATIENCE) == 0


async def read_all(scene: Scene) -> int:
    return len([event async for event in scene.events])


async def test_a_cancelled_reader_loses_no_event() -> None:
    async with serving() as scene:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(scene.events), 0.01)
        await refuse(scene, 1)
        assert (await scene.next_event()).subscription_topic == "/0"


async def test_two_tasks_that_read_one_stream_share_its_events() -> None:
    async with serving() as scene:
        readers = [asyncio.create_task(anext(scene.events)) for _ in range(2)]
        await asyncio.sleep(0)
        await refuse(scene, 2)
        done, pending = await asyncio.wait(readers, timeout=1.0)
        for task in pending:
            task.cancel()
        assert {task.result().subscription_topic for task in done} == {"/0", "/1"}


async def test_a_closed_stream_gives_what_it_holds_and_ends() -> None:
    async with serving() as scene:
        await refuse(scene, 2)
        scene.events.close()
        await refuse(scene, 1)
        assert await asyncio.wait_for(read_all(scene), PATIENCE) == 2
        assert scene.events.dropped == 0


async def test_a_stream_that_nobody_holds_is_gone_and_what_it_dropped_is_still_counted() -> None:
    async with serving(event_buffer=1) as scene:
        second = scene.server.events()
        await refuse(scene, 3)
        assert scene.server.stats().events_dropped == 4
        del second
        gc.collect()
        await refuse(scene, 1)
        # A count since the server began never falls.
        assert scene.server.stats().events_dropped == 5


# --- stats ----------------------------------------------------------------------------------------------------------


async def test_stats_of_an_idle_server_are_zeros() -> None:
    async with serving() as scene:
        stats = scene.server.stats()
        assert stats.max_memory_bytes > 1 << 20
        assert stats == Stats(
            connections=0,
            publishers=0,
            subscribers=0,
            topics=0,
            messages=0,
            message_bytes=0,
            ignored_messages=0,
            received_bytes=0,
            sent_bytes=0,
            memory_bytes=0,
            max_memory_bytes=stats.max_memory_bytes,
            held_publishers=0,
            skipped_messages=0,
            skips=0,
            events_dropped=0,
            departures={},
            refusals={},
            limited={},
        )


async def test_stats_count_who_is_there_and_what_was_said() -> None:
    async with serving() as scene:
        publisher, subscriber = await scene.join("/a", "publisher"), await scene.join("/a")
        await scene.join("/b", "duplex")
        await refuse(scene, 2)
        said = frame(b"12345") + frame("678", 0x1) + frame(b"9", fin=False) + frame(b"0", 0x0)
        await publisher.send(said)
        await subscriber.read_messages(3)
        await subscriber.send(frame(b"junk"))
        await wait_until(lambda: scene.server.stats().ignored_messages, "ignored junk")
        stats = scene.server.stats()
        assert (stats.publishers, stats.subscribers, stats.topics) == (2, 2, 2)
        assert (stats.messages, stats.message_bytes, stats.ignored_messages) == (3, 10, 1)
        assert stats.received_bytes == len(said) + len(frame(b"junk"))
        assert stats.refusals == {400: 2}
        assert stats.departures == {}


async def test_sent_bytes_are_those_on_the_wire() -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        before = scene.server.stats().sent_bytes
        scene.server.publish("/t", bytes(200))
        await subscriber.read_message()
        # Counted when they have been handed over, so it may be a moment after they are here.
        await wait_until(lambda: scene.server.stats().sent_bytes > before, "bytes sent")
        assert scene.server.stats().sent_bytes - before == 204


async def test_messages_of_this_process_are_not_messages_of_publishers() -> None:
    async with serving() as scene:
        scene.server.publish("/t", b"x")
        assert scene.server.stats().messages == 0


async def test_departures_are_counted_by_cause() -> None:
    async with serving() as scene:
        closes, leaves, resets = [await scene.join() for _ in range(3)]
        await closes.send(close_frame())
        await closes.read_close()
        closes.close()
        leaves.close()
        resets.reset()
        await scene.wait_departures(closed=1, left=1, reset=1)
        stats = scene.server.stats()
        assert (stats.publishers, stats.subscribers) == (0, 0)


async def test_stats_as_json_have_every_field() -> None:
    async with serving() as scene:
        await scene.join("/t", "publisher")
        await refuse(scene, 1)
        stats = scene.server.stats()
        document = json.loads(stats.to_json())
        assert "\n" not in stats.to_json()
        assert set(document) == set(Stats.__slots__)
        assert document["publishers"] == 1
        assert document["refusals"] == {"400": 1}


async def test_stats_can_be_read_after_the_end() -> None:
    async with serving() as scene:
        client = await scene.join("/t", "publisher")
        await client.send(frame(b"x") + frame(b"", PING))
        await client.read_frame()
        await scene.server.close()
        stats = scene.server.stats()
        assert (stats.messages, stats.publishers, stats.memory_bytes) == (1, 0, 0)
        assert sum(stats.departures.values()) == 1

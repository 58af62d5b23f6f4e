"""The end of a server: everybody gets 1012, and with `drain` what was on its way arrives first."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from pubsub.errors import MisuseError
from pubsub.events import EventType
from pubsub.leaving import Leaving
from tests.support.rawclient import CLOSE, RawClient, close_frame, frame, request
from tests.support.server import Scene, serving, wait_until

ROLES = ["publisher", "subscriber", "duplex"]
RESTART = 1012


@contextlib.asynccontextmanager
async def closing(scene: Scene, drain: float = 0.0) -> AsyncIterator[None]:
    """Closes the server while the block runs; the block's end waits for the server's."""
    task = asyncio.create_task(scene.server.close(drain=drain))
    try:
        yield
    finally:
        await asyncio.wait([task], timeout=15.0)
    assert task.done()
    task.result()


async def take_close(client: RawClient) -> None:
    """What a good client does with the server's Close."""
    code, reason = await client.read_close()
    assert (code, bool(reason)) == (RESTART, True)
    await client.send(close_frame(RESTART))
    await client.read_end()
    client.close()


@pytest.mark.parametrize("drain", [0.0, 5.0])
@pytest.mark.parametrize("role", ROLES)
async def test_everybody_gets_1012_and_a_good_client_is_not_waited_for(role: str, drain: float) -> None:
    async with serving() as scene:
        clients = [await scene.join("/t", role) for _ in range(3)]
        begun = asyncio.get_running_loop().time()
        async with closing(scene, drain):
            for client in clients:
                await take_close(client)
        assert asyncio.get_running_loop().time() - begun < 3.0
        assert scene.departures == {"closed": 3}


@pytest.mark.parametrize("drain", [0.0, 0.2])
async def test_those_who_never_answer_are_reset(drain: float) -> None:
    async with serving() as scene:
        silent = [await scene.join("/t", role) for role in ROLES]
        begun = asyncio.get_running_loop().time()
        await scene.server.close(drain=drain)
        assert asyncio.get_running_loop().time() - begun < drain + 3.0
        for client in silent:
            assert (await client.read_close())[0] == RESTART
            await client.read_reset()
        assert sum(scene.departures.values()) == 3


async def test_an_empty_server_closes_at_once_and_twice() -> None:
    async with serving() as scene:
        await scene.server.close(drain=60.0)
        await scene.server.close()


async def test_two_that_close_wait_for_one_end() -> None:
    async with serving() as scene:
        client = await scene.join()
        async with closing(scene), closing(scene):
            await take_close(client)
        assert scene.departures == {"closed": 1}


async def test_a_cancelled_close_goes_on() -> None:
    async with serving() as scene:
        client = await scene.join()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await scene.server.close(drain=10.0)
        await take_close(client)
        await scene.server.close()


async def test_after_close_nobody_can_connect_and_nothing_can_be_published() -> None:
    async with serving() as scene:
        port = scene.server.port
        await scene.server.close()
        with pytest.raises(ConnectionRefusedError):
            await RawClient.dial(port)
        with pytest.raises(MisuseError, match="closed"):
            scene.server.publish("/t", b"late")
        assert scene.server.stats().subscribers == 0


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drain", [None, -1.0, float("nan"), float("inf"), True, [1], "soon"])
async def test_what_is_no_time_to_drain_is_refused_before_anything_happens(drain: object) -> None:
    async with serving() as scene:
        client = await scene.join()
        with pytest.raises(MisuseError, match=r"drain=.*; give (a duration|one) such as"):
            await scene.server.close(drain=drain)  # type: ignore[arg-type]
        assert not scene.server.closed
        await scene.join()
        async with closing(scene):
            await take_close(client)


async def test_a_close_that_failed_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise MemoryError

    async with serving() as scene:
        client = await scene.join()
        with monkeypatch.context() as patched:
            patched.setattr(Leaving, "send_off", fail)
            for _ in range(2):
                with pytest.raises(MemoryError):
                    await scene.server.close()
        assert not scene.server.closed
        async with closing(scene):
            await take_close(client)
        assert scene.server.closed


async def test_publishing_to_a_server_that_was_just_closed_is_told_so_in_its_terms() -> None:
    async with serving() as scene:
        await scene.server.close()
        for call in (scene.server.publish, lambda topic, _: scene.server.subscribe(topic)):
            with pytest.raises(MisuseError, match=r"^this server is closed; make a new one$"):
                call("/t", b"late")


# --- drain ----------------------------------------------------------------------------------------------------------


async def test_frames_of_publishers_in_flight_are_taken_until_their_close() -> None:
    async with serving() as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        async with closing(scene, drain=10.0):
            assert (await publisher.read_close())[0] == RESTART
            # The Close crossed these on their way.
            await publisher.send(b"".join(frame(b"%d" % number) for number in range(2000)))
            await publisher.send(frame(b"half", fin=False) + frame(b"whole", 0x0) + close_frame(RESTART))
            expected = [b"%d" % number for number in range(2000)] + [b"halfwhole"]
            assert await subscriber.read_messages(2001) == expected
            await publisher.read_end()
            publisher.close()
            await take_close(subscriber)


async def test_subscribers_get_all_they_are_owed_before_their_close() -> None:
    async with serving(pace_lag_bytes=1 << 26) as scene:
        slow = await scene.join(receive_buffer=4096)
        payloads = [bytes([number]) * 100_000 for number in range(100)]
        for payload in payloads:
            scene.server.publish("/t", payload)
        async with closing(scene, drain=10.0):
            assert await slow.read_messages(100) == payloads
            await take_close(slow)


async def test_a_duplex_client_gets_what_it_says_until_its_own_close() -> None:
    async with serving() as scene:
        client, other = await scene.join(role="duplex"), await scene.join()
        await client.send(frame(b"before"))
        assert await client.read_message() == await other.read_message() == b"before"
        async with closing(scene, drain=10.0):
            assert (await client.read_close())[0] == RESTART
            await client.send(frame(b"in flight") + close_frame(RESTART))
            assert await other.read_message() == b"in flight"
            await client.read_end()
            client.close()
            await take_close(other)


async def test_a_publisher_that_never_answers_costs_subscribers_nothing() -> None:
    async with serving(pace_lag_bytes=1 << 26) as scene:
        await scene.join(role="publisher")
        slow = await scene.join(receive_buffer=4096)
        payloads = [bytes([number]) * 50_000 for number in range(20)]
        for payload in payloads:
            scene.server.publish("/t", payload)
        async with closing(scene, drain=1.0):
            assert await slow.read_messages(20) == payloads
            await take_close(slow)


async def test_a_publisher_that_goes_on_sending_and_never_answers_does_not_keep_the_server() -> None:
    async with serving() as scene:
        publisher = await scene.join(role="publisher")
        flood = frame(bytes(1000)) * 100

        async def keep_sending() -> None:
            with contextlib.suppress(OSError):
                while True:
                    await publisher.send(flood)
                    await asyncio.sleep(0)

        sending = asyncio.create_task(keep_sending())
        await scene.server.close()
        await sending
        assert sum(scene.departures.values()) == 1


@pytest.mark.parametrize("drain", [0.0, 0.3])
async def test_whoever_is_in_the_middle_of_a_request_gets_an_answer_or_an_end(drain: float) -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        arriving = await scene.dial()
        await arriving.send(request("/t")[:-2])
        async with closing(scene, drain):
            assert (await subscriber.read_close())[0] == RESTART
            await arriving.send(request("/t")[-2:])
            response = await arriving.read_response()
            if response.status == 101:
                assert (await arriving.read_close())[0] == RESTART
            else:
                assert response.status == 503


async def test_a_message_published_just_before_the_close_is_delivered_to_those_with_room() -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        scene.server.publish("/t", b"last words")
        async with closing(scene):
            assert await subscriber.read_message() == b"last words"
            await take_close(subscriber)


async def test_a_large_message_that_has_begun_is_finished_before_the_close() -> None:
    async with serving() as scene:
        subscriber = await scene.join(receive_buffer=4096)
        scene.server.publish("/t", bytes(1_000_000))
        await wait_until(lambda: scene.server.stats().sent_bytes > 5000, "a begun message")
        async with closing(scene):
            assert await subscriber.read_message() == bytes(1_000_000)
            await take_close(subscriber)


# --- events ---------------------------------------------------------------------------------------------------------


async def test_events_of_the_end_can_be_read_and_then_the_stream_ends() -> None:
    async with serving() as scene:
        joined = [await scene.join("/t", role) for role in ("publisher", "subscriber")]
        await scene.server.close()
        events = [event async for event in scene.events]
        assert [event.type for event in events[:2]] == [EventType.PUBLISHER_JOINED, EventType.SUBSCRIBER_JOINED]
        assert {(event.type, event.client_id) for event in events[2:]} == {
            (EventType.PUBLISHER_LEFT, joined[0].client_id),
            (EventType.SUBSCRIBER_LEFT, joined[1].client_id),
        }


async def test_a_stream_opened_after_the_end_has_ended() -> None:
    async with serving() as scene:
        await scene.server.close()
        async with asyncio.timeout(1.0):
            assert [event async for event in scene.server.events()] == []


async def test_the_close_frame_is_well_formed() -> None:
    async with serving() as scene:
        client = await scene.join()
        async with closing(scene):
            got = await client.read_any_frame()
            assert (got.opcode, got.fin) == (CLOSE, True)
            assert len(got.payload) <= 125
            client.close()


# --- spread ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["subscriber", "duplex"])
async def test_the_closes_of_many_are_spread_over_the_time_to_drain(role: str) -> None:
    async with serving() as scene:
        loop = asyncio.get_running_loop()
        clients = [await scene.join("/t", role) for _ in range(40)]
        begun, closed = loop.time(), []

        async def leave(client: RawClient) -> None:
            await take_close(client)
            closed.append(loop.time() - begun)

        async with closing(scene, 2.0):
            await asyncio.gather(*map(leave, clients))
        closed.sort()
        # Four fifths of 2 s. What a busy machine does is to make it longer.
        span = 1.6
        assert closed[-1] - closed[0] > 0.8 * span
        assert closed[20] - closed[0] > 0.3 * span
        assert scene.departures == {"closed": 40}


async def test_it_ends_as_soon_as_the_last_has_gone_even_if_the_spread_would_go_on() -> None:
    async with serving() as scene:
        loop = asyncio.get_running_loop()
        clients = [await scene.join() for _ in range(40)]
        begun = loop.time()
        async with closing(scene, 60.0):
            for client in clients:
                client.reset()
        assert loop.time() - begun < 10.0


async def test_what_is_published_here_while_closes_are_spread_reaches_those_who_are_still_there() -> None:
    async with serving() as scene:
        clients = [await scene.join() for _ in range(40)]
        async with closing(scene, 2.0):
            assert (await clients[0].read_close())[0] == RESTART
            scene.server.publish("/t", b"meanwhile")
            assert await clients[-1].read_message() == b"meanwhile"
            for client in clients:
                client.close()


async def test_who_waits_to_be_accepted_when_it_closes_gets_in_and_is_sent_away_in_order() -> None:
    async with serving() as scene:
        stays = await scene.join()
        waiting = await scene.dial()
        async with closing(scene, 2.0):
            await waiting.send(request("/t"))
            assert (await waiting.read_response()).status == 101
            await take_close(waiting)
            await take_close(stays)


async def test_who_waits_while_it_is_full_hears_that_it_closes() -> None:
    """`check` takes a server that is full for a healthy one."""
    async with serving(max_connections=1) as scene:
        await scene.join()
        # Into the queue, without a turn of the loop in which it would be accepted.
        waiting = RawClient(socket.create_connection(("127.0.0.1", scene.server.port), timeout=30))
        waiting.sock.setblocking(False)
        with contextlib.closing(waiting):
            scene.server._door.stop_listening()
            response = await waiting.read_response()
            assert response.status == 503 and "the server is closing" in response.body

"""Clients that say nothing: pinged, judged by any byte they send, closed with 1011 when there is none."""

import asyncio
import contextlib

import pytest

from pubsub.events import EventType
from tests.support.rawclient import CONTINUATION, PING, PONG, RawClient, close_frame, frame
from tests.support.server import serving, wait_until

ROLES = ["publisher", "subscriber", "duplex"]
QUICK = {"ping_interval": 0.05, "pong_deadline": 0.2, "close_deadline": 0.2}
# So many pings take far longer than a client without a pong is let live.
PINGS = 12
NO_PONG = 1011


async def read_ping(client: RawClient) -> bytes:
    got = await client.read_any_frame()
    assert got.opcode == PING
    return got.payload


@pytest.mark.parametrize("role", ROLES)
async def test_everybody_is_pinged_and_stays_with_a_pong(role: str) -> None:
    async with serving(**QUICK) as scene:
        client = await scene.join("/t", role)
        for _ in range(PINGS):
            await client.send(frame(await read_ping(client), PONG))
        assert scene.departures == {}


@pytest.mark.parametrize(
    "answer",
    [frame(b"other payload", PONG), frame(b"message"), frame(b"", PING), frame(b"part", CONTINUATION, fin=False)],
    ids=["another pong", "a message", "a ping", "a part of a message"],
)
async def test_any_byte_counts_as_a_pong(answer: bytes) -> None:
    async with serving(**QUICK) as scene:
        client = await scene.join("/t", "publisher")
        if answer[0] & 0xF == CONTINUATION:
            await client.send(frame(b"begun", fin=False))
        for _ in range(PINGS):
            while (await client.read_any_frame()).opcode != PING:
                pass
            await client.send(answer)
        assert scene.departures == {}


async def test_one_byte_of_a_frame_counts_as_a_pong() -> None:
    async with serving(**QUICK) as scene:
        client = await scene.join("/t", "duplex")
        for byte in frame(b"a slow one"):
            await read_ping(client)
            await client.send(bytes([byte]))
        assert await client.read_message() == b"a slow one"


@pytest.mark.parametrize("role", ROLES)
async def test_a_client_that_answers_no_ping_is_closed_with_1011_and_departs_with_its_cause(role: str) -> None:
    async with serving(**QUICK) as scene:
        client = await scene.join("/t", role)
        joined = await scene.next_events(1 if role != "duplex" else 2)
        await read_ping(client)
        code, reason = await client.read_close()
        assert code == NO_PONG and "pong_deadline" in reason
        client.close()
        await scene.wait_departures(no_pong=1)
        left = await scene.next_events(len(joined))
        assert [event for event, _, _ in left] == [EventType(event - 1) for event, _, _ in joined]


async def test_a_client_without_pong_that_answers_the_close_departs_with_the_cause_as_well() -> None:
    async with serving(**QUICK) as scene:
        client = await scene.join()
        await read_ping(client)
        assert (await client.read_close())[0] == NO_PONG
        await client.send(close_frame(NO_PONG))
        await client.read_end()
        client.close()
        await scene.wait_departures(no_pong=1)


@pytest.mark.parametrize("role", ROLES)
async def test_a_vanished_client_is_gone_within_both_deadlines(role: str) -> None:
    async with serving(**QUICK) as scene:
        vanished = await scene.join("/t", role)
        await scene.wait_departures(no_pong=1)
        with pytest.raises(ConnectionResetError):
            while await vanished.read_some():
                pass
        await scene.wait_empty()
        assert scene.server.stats().memory_bytes == 0


async def test_a_vanished_subscriber_changes_nothing_for_the_others() -> None:
    async with serving(**QUICK) as scene:
        await scene.join()
        good, publisher = await scene.join(role="duplex"), await scene.join(role="duplex")
        sent = 0

        async def converse() -> None:
            nonlocal sent
            while not scene.departures:
                await publisher.send(frame(b"%d" % sent))
                assert await good.read_message() == await publisher.read_message() == b"%d" % sent
                sent += 1

        await asyncio.wait_for(converse(), 15.0)
        assert sent > 0 and scene.departures == {"no_pong": 1}


async def test_a_ping_waits_for_the_frame_that_a_subscriber_is_in_the_middle_of() -> None:
    async with serving(ping_interval=0.1, pong_deadline=5.0) as scene:
        subscriber = await scene.join(receive_buffer=4096)
        payload = bytes(range(256)) * 20_000
        scene.server.publish("/t", payload)
        await wait_until(lambda: scene.server.stats().sent_bytes > 5000, "a begun message")
        got = await subscriber.read_any_frame()
        while got.opcode == PING:  # one that came before the message
            got = await subscriber.read_any_frame()
        assert got.payload == payload
        await read_ping(subscriber)


async def test_while_a_subscribers_socket_is_full_its_pong_is_not_awaited() -> None:
    options = QUICK | {"subscriber_write_timeout": 1.2}
    async with serving(**options) as scene:
        await scene.join(receive_buffer=4096)
        scene.server.publish("/t", bytes(20_000_000))
        # It would be gone after 0.3 s for want of a pong; it is judged as stalled instead.
        await scene.wait_departures(stalled=1)


async def test_a_publisher_that_is_held_back_is_not_judged_for_its_pong() -> None:
    # Its socket is not read while the only subscriber lags, so its pong cannot be seen.
    options = QUICK | {"pace_lag_bytes": 1000, "subscriber_write_timeout": 10.0}
    async with serving(**options) as scene:
        subscriber = await scene.join(receive_buffer=4096)
        publisher = await scene.join(role="publisher")
        payload = bytes(200_000)
        sending = asyncio.create_task(publisher.send(frame(payload) * 20))
        await wait_until(lambda: scene.server.stats().held_publishers, "a held publisher")
        now = asyncio.get_running_loop().time
        patient_until = now() + 1.0

        def read_a_little() -> bool:
            # So the subscriber moves, and the topic stays paced.
            with contextlib.suppress(BlockingIOError):
                subscriber.buffer += subscriber.sock.recv(4096)
            return now() > patient_until

        await wait_until(read_a_little, "the end of a second")
        assert await subscriber.read_messages(20) == [payload] * 20
        await sending
        assert scene.departures == {}


async def test_pings_are_spread_over_the_interval() -> None:
    async with serving(ping_interval=0.8, pong_deadline=5.0) as scene:
        clients = [await scene.join() for _ in range(40)]
        begun = asyncio.get_running_loop().time()

        async def first_ping(client: RawClient) -> float:
            await read_ping(client)
            return asyncio.get_running_loop().time() - begun

        times = sorted(await asyncio.gather(*map(first_ping, clients)))
        # All at once would be one beat; the odds against this are those of 40 dice.
        assert times[-1] - times[0] > 0.2

"""The hub under the web servers that people run: all messages, slow clients, refusals, and the end."""

import asyncio
import signal
import socket

import pytest

from pubsub import ConnectionClosed, Publisher, Subscriber, UpgradeRefused
from tests.support.functional import Plan, carry_out, load_payloads
from tests.support.mounted import SERVERS, Mounted, mounted
from tests.support.rawclient import PATIENCE, RawClient, request

pytestmark = [pytest.mark.parametrize("server", SERVERS), pytest.mark.slow]


async def test_every_message_reaches_everybody_whole_and_in_order(server: str) -> None:
    with mounted(server) as running:
        plan = Plan(publishers=3, subscribers=3, payloads=load_payloads(messages=30))
        await carry_out(plan, f"{running.url}/functional")


async def test_what_a_route_publishes_is_delivered(server: str) -> None:
    with mounted(server) as running:
        async with Subscriber(f"{running.url}/a") as subscriber:
            assert await asyncio.to_thread(running.ask, "/publish?topic=/a", b"from a route") == 1
            assert await anext(subscriber) == b"from a route"


async def test_one_that_does_not_read_is_closed_and_the_others_notice_nothing(server: str) -> None:
    with mounted(server, subscriber_write_timeout=1.0) as running:
        stalled = await stalled_client(running)
        async with Subscriber(f"{running.url}/a") as subscriber:
            for number in range(100):
                await asyncio.to_thread(running.ask, "/publish?topic=/a", b"%d" % number + bytes(100_000))
                message = await anext(subscriber)
                assert message.startswith(b"%d\0" % number)
            stats = await asyncio.to_thread(running.wait_stats, lambda stats: stats["departures"])
            assert stats["departures"] == {"stalled": 1}
        stalled.close()


async def stalled_client(running: Mounted) -> RawClient:
    client = await RawClient.dial(running.port, receive_buffer=4096)
    await client.upgrade(request("/live/a", role="subscriber"))
    return client


async def test_too_far_behind_is_told_from_stalled(server: str) -> None:
    with mounted(server, max_lag_bytes=1_000_000) as running:
        stalled = await stalled_client(running)
        for _ in range(60):
            await asyncio.to_thread(running.ask, "/publish?topic=/a", bytes(200_000))
        stats = await asyncio.to_thread(running.wait_stats, lambda stats: stats["departures"])
        assert stats["departures"] == {"too_far_behind": 1}
        stalled.close()


async def test_a_role_that_is_none_is_refused(server: str) -> None:
    with mounted(server) as running:
        with pytest.raises(UpgradeRefused) as refused:
            await Subscriber(f"{running.url}/a?pubsub=nobody").__aenter__()
        assert refused.value.status == 400 and "unknown" in refused.value.body


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_the_server_ends_with_clients_connected(server: str, end: signal.Signals) -> None:
    with mounted(server) as running:
        async with Subscriber(f"{running.url}/a") as subscriber, Publisher(f"{running.url}/a") as publisher:
            await publisher.publish(b"x")
            assert await anext(subscriber) == b"x"
            running.program.signal(end)
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(PATIENCE):
                    await anext(subscriber)
        ended = await asyncio.to_thread(running.program.finish)
        assert "/pubsub/" not in ended.stderr, ended.stderr  # hypercorn tells of a cancellation of its own


async def test_clients_that_vanish_are_gone(server: str) -> None:
    with mounted(server) as running:
        clients = [await stalled_client(running) for _ in range(20)]
        await asyncio.to_thread(running.wait_stats, lambda stats: stats["subscribers"] == 20)
        for client in clients:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        stats = await asyncio.to_thread(running.wait_stats, lambda stats: stats["subscribers"] == 0)
        assert sum(stats["departures"].values()) == 20

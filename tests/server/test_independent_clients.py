"""Other people's WebSocket code, and this project's own clients, against one server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from pubsub import ConnectionClosed, PeerError, Publisher, Subscriber, UpgradeRefused
from tests.support.rawclient import PATIENCE, frame
from tests.support.server import Scene, serving


@contextlib.asynccontextmanager
async def websocket(scene: Scene, role: str, target: str = "/t", **options: Any) -> AsyncIterator[ClientConnection]:
    """A client of the `websockets` library with its own defaults: compression offered, pings every 20 s."""
    headers = {"pubsub": role, "pubsub-client-name": "independent"}
    async with connect(scene.server.url + target, additional_headers=headers, max_size=None, **options) as client:
        yield client


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_websockets_publishes_and_subscribes(compression: str | None) -> None:
    async with (
        serving() as scene,
        websocket(scene, "subscriber", compression=compression) as subscriber,
        websocket(scene, "publisher", compression=compression) as publisher,
    ):
        said: list[bytes | str] = ["text", "grün €", b"", "", b"bytes", bytes(200_000), "x" * 100_000]
        for message in said:
            await publisher.send(message)
        assert [await subscriber.recv() for _ in said] == said
        assert subscriber.response is not None
        assert subscriber.response.headers["pubsub-client-id"].startswith("independent-")
        assert "Sec-WebSocket-Extensions" not in subscriber.response.headers


async def test_websockets_fragments_are_one_message() -> None:
    async with (
        serving() as scene,
        websocket(scene, "subscriber") as subscriber,
        websocket(scene, "publisher") as publisher,
    ):
        await publisher.send(["gr", "ü", "n"])
        await publisher.send(iter([b"a", b"", b"b"]))
        assert [await subscriber.recv(), await subscriber.recv()] == ["grün", b"ab"]


async def test_websockets_pings_are_answered_behind_its_messages() -> None:
    async with serving() as scene, websocket(scene, "publisher") as publisher:
        for number in range(100):
            await publisher.send(b"%d" % number)
        await asyncio.wait_for(await publisher.ping(b"flushed"), PATIENCE)
        assert scene.server.publish("/t", b"") == 101


async def test_websockets_answers_the_servers_pings() -> None:
    async with serving(ping_interval=0.05, pong_deadline=0.2) as scene, websocket(scene, "subscriber") as subscriber:
        for number in range(10):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(subscriber.recv(), 0.05)
            assert scene.departures == {}, number


async def test_websockets_negotiates_a_role_as_subprotocol() -> None:
    protocols = [websockets.Subprotocol("pubsub.duplex"), websockets.Subprotocol("chat")]
    async with serving() as scene, connect(scene.server.url + "/t", subprotocols=protocols) as client:
        assert client.subprotocol == "pubsub.duplex"
        await client.send("echo")
        assert await client.recv() == "echo"


async def test_websockets_sees_the_status_and_the_line_of_a_refusal() -> None:
    async with serving() as scene:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connect(scene.server.url + "/t"):
                pass
        response = caught.value.response
        assert response.status_code == 400
        assert response.body is not None and response.body.startswith(b"no role is given; ")


async def test_websockets_gets_its_close_codes_right() -> None:
    async with serving() as scene:
        async with websocket(scene, "publisher") as publisher:
            await publisher.close(4321, "enough")
            assert (publisher.close_code, publisher.protocol.close_rcvd and publisher.protocol.close_rcvd.code) == (
                4321,
                4321,
            )
        async with websocket(scene, "subscriber") as subscriber:
            closing = asyncio.create_task(scene.server.close(drain=5.0))
            with pytest.raises(websockets.ConnectionClosedError):
                await subscriber.recv()
            assert subscriber.close_code == 1012
            await closing
        assert scene.departures == {"closed": 2}


async def test_websockets_learns_that_its_message_was_too_big() -> None:
    async with serving(max_message_bytes=1000) as scene, websocket(scene, "publisher") as publisher:
        await publisher.send(bytes(1001))
        await publisher.wait_closed()
        assert publisher.close_code == 1009
        assert "max_message_bytes=1000" in (publisher.close_reason or "")


# --- this project's own ---------------------------------------------------------------------------------------------


async def test_our_clients_talk_to_the_server_and_to_other_clients() -> None:
    async with serving() as scene, websocket(scene, "duplex") as other:
        url = scene.server.url + "/t"
        async with Subscriber(url, name="sub", text=True) as subscriber, Publisher(url, name="pub") as publisher:
            assert (subscriber.client_id[:4], publisher.client_id[:4]) == ("sub-", "pub-")
            await publisher.publish(b"from ours")
            await publisher.publish("als Text")
            await publisher.flush()
            await other.send(b"from the other")
            expected = [b"from ours", "als Text", b"from the other"]
            assert [await anext(subscriber) for _ in expected] == expected
            assert [await other.recv() for _ in expected] == expected


async def test_flush_means_that_all_is_in_the_log() -> None:
    async with serving() as scene, Publisher(scene.server.url + "/t") as publisher:
        for turn in range(1, 4):
            for _ in range(500):
                await publisher.publish(bytes(1000))
            await publisher.flush()
            assert scene.server.publish("/t", b"") == turn * 501


async def test_our_subscriber_ends_with_the_servers_restart_and_may_come_back() -> None:
    async with serving() as scene:
        subscriber = Subscriber(scene.server.url + "/t")
        async with subscriber:
            closing = asyncio.create_task(scene.server.close(drain=5.0))
            with pytest.raises(ConnectionClosed) as caught:
                async for _ in subscriber:
                    pass
            assert (caught.value.code, caught.value.come_back) == (1012, True)
            await closing


async def test_our_publishers_messages_in_flight_survive_the_servers_drain() -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        async with Publisher(scene.server.url + "/t") as publisher:
            for number in range(300):
                await publisher.publish(b"%d" % number)
            closing = asyncio.create_task(scene.server.close(drain=5.0))
            await publisher.wait_closed()
        assert await subscriber.read_messages(300) == [b"%d" % number for number in range(300)]
        assert (await subscriber.read_close())[0] == 1012
        subscriber.close()
        await closing


async def test_our_client_raises_what_the_server_refused() -> None:
    async with serving() as scene:
        with pytest.raises(UpgradeRefused) as caught:
            async with Publisher(scene.server.url + "/t?pubsub=subscriber"):
                pass
        assert caught.value.status == 400
        assert "disagree" in caught.value.body


async def test_our_client_raises_the_servers_close_for_a_message_too_big() -> None:
    async with serving(max_message_bytes=1000) as scene:
        publisher = Publisher(scene.server.url + "/t")
        async with publisher:
            await publisher.publish(bytes(1001))
            with pytest.raises((ConnectionClosed, PeerError)):
                await publisher.flush()
        assert isinstance(publisher.error, ConnectionClosed) and publisher.error.code == 1009


async def test_one_that_breaks_a_rule_disturbs_no_independent_client() -> None:
    async with (
        serving() as scene,
        websocket(scene, "subscriber") as subscriber,
        websocket(scene, "publisher") as publisher,
    ):
        for bad in (frame(b"x", rsv=4), frame(b"\xff", 0x1), frame(b"x", masked=False)):
            client = await scene.join(role="publisher")
            await client.send(bad)
            await publisher.send(b"undisturbed")
            assert await subscriber.recv() == b"undisturbed"

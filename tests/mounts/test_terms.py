"""Terms of a hub: it ends once and whole, whoever closes it and however, and begins again with nothing of before."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pubsub import Hub, MisuseError, Options, Reader, Subscriber
from tests.support.rawclient import PATIENCE
from tests.support.server import wait_until


class Client:
    """What a web server would be for one client, by hand: a queue each way, and a window that can be shut."""

    def __init__(self, hub: Hub, topic: str, role: str = "subscriber") -> None:
        self.inward: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outward: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self.inward.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": topic,
            "raw_path": topic.encode(),
            "query_string": f"pubsub={role}".encode(),
            "headers": [],
            "extensions": {"websocket.http.response": {}},
        }
        self.task = asyncio.ensure_future(hub(scope, self.inward.get, self.send))

    async def send(self, message: Any) -> None:
        await self.open.wait()
        self.outward.put_nowait(message)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            return await self.outward.get()

    async def joined(self) -> "Client":
        assert (await self.next())["type"] == "websocket.accept"
        return self

    async def left(self) -> None:
        self.inward.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


async def test_a_closing_that_is_cancelled_gives_everything_back_and_the_next_term_is_whole() -> None:
    hub = Hub()
    async with hub:
        client = await Client(hub, "/a").joined()
        client.open.clear()
        hub.publish("/a", "x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await hub.close(drain=10.0)
        client.open.set()
        await client.task
        await hub.close()
    async with hub:
        async with hub.subscribe("/a") as reader:
            assert hub.publish("/a", "y") == 1
            assert await anext(reader) == "y"
        await (await Client(hub, "/a").joined()).left()


async def test_who_closes_meanwhile_waits_for_the_same_end() -> None:
    hub = Hub()
    async with hub:
        await Client(hub, "/a").joined()
        broker = hub._running()
        await asyncio.gather(*(hub.close(drain=0.1) for _ in range(5)))
        with pytest.raises(MisuseError):
            hub.publish("/a", "x")
        assert broker.engine.stats()["topics"] == 0


async def test_what_ends_last_of_nested_lifespans_ends_it() -> None:
    hub = Hub()
    async with hub.lifespan():
        async with hub.lifespan():
            pass
        assert hub.publish("/a", "x") == 1
    with pytest.raises(MisuseError):
        hub.publish("/a", "x")


async def test_a_drain_ends_when_everybody_has_everything() -> None:
    hub = Hub()
    async with hub:
        clients = [await Client(hub, "/a").joined() for _ in range(3)]
        reader = hub.subscribe("/a")
        for turns in range(4):  # told of it, but not yet resumed, is one of the moments
            hub.publish("/a", str(turns))
            for _ in range(turns):
                await asyncio.sleep(0)
        closing = asyncio.ensure_future(hub.close(drain=PATIENCE))
        assert [message async for message in reader] == ["0", "1", "2", "3"]
        async with asyncio.timeout(PATIENCE / 2):
            await closing
        for client in clients:
            assert [(await client.next()).get("text") for _ in range(4)] == ["0", "1", "2", "3"]
            assert (await client.next())["code"] == 1012


async def test_port_and_mount_drain_at_the_same_time() -> None:
    async with Hub() as hub:
        server = await hub.listen(port=0)
        stalled = await Client(hub, "/a").joined()
        stalled.open.clear()
        async with Subscriber(f"{server.url}/a"):
            hub.publish("/a", b"x")
            loop = asyncio.get_running_loop()
            began = loop.time()
            await hub.close(drain=2.0)
            assert loop.time() - began < 4.5  # the drain, the grace behind it, and not both twice
        stalled.open.set()
        await stalled.task


def test_a_server_whose_loop_has_ended_is_no_hindrance() -> None:
    hub = Hub()

    async def listen() -> None:
        await hub.listen(port=0)

    asyncio.run(listen())
    asyncio.run(hub.close())
    gc.collect()


async def test_another_server_waits_until_the_one_before_has_closed() -> None:
    async with Hub() as hub:
        first = await hub.listen(port=0)
        async with Subscriber(f"{first.url}/a"):
            closing = asyncio.ensure_future(first.close(drain=0.2))
            await asyncio.sleep(0)
            with pytest.raises(MisuseError, match="close that server first"):
                await hub.listen(port=0)
            await closing
        async with hub.listen(port=0) as second, Subscriber(f"{second.url}/a") as subscriber:
            hub.publish("/a", b"x")
            assert await anext(subscriber) == b"x"


async def test_the_reason_of_a_close_fits_whatever_the_topic() -> None:
    async with Hub(Options(max_lag_bytes=1000)) as hub:
        topic = "/" + "long" * 50
        client = await Client(hub, topic).joined()
        client.open.clear()
        for _ in range(10):
            hub.publish(topic, bytes(500))
            await asyncio.sleep(0.01)
        client.open.set()
        last = await client.next()
        while last["type"] == "websocket.send":
            last = await client.next()
        assert last["code"] == 1013 and "too far behind" in last["reason"] and len(last["reason"]) <= 123
        await client.task
        assert hub.stats().departures == {"too_far_behind": 1}


async def fill_until_paced(hub: Hub, reader: Reader) -> None:
    """The reader lags, and moves: one that does not paces nobody."""
    while not hub.topic("/a").paced:
        for _ in range(20):
            hub.publish("/a", bytes(100))
        await anext(reader)


async def test_waiting_for_room_leaves_no_trace() -> None:
    async with Hub(Options(pace_lag_bytes=1000)) as hub:
        reader = hub.subscribe("/a")
        for _ in range(50):
            await fill_until_paced(hub, reader)
            waiting = [asyncio.ensure_future(hub.room("/a")) for _ in range(20)]
            await asyncio.sleep(0)
            while reader.lag_bytes:
                await anext(reader)
            await asyncio.gather(*waiting)
        assert len(hub._running().engine.take_events(1000)) <= 1
        reader.close()


async def test_a_publisher_waits_while_its_topic_is_paced_and_not_for_itself() -> None:
    async with Hub(Options(pace_lag_bytes=1000)) as hub:
        duplex = await Client(hub, "/own", "duplex").joined()
        duplex.open.clear()
        for _ in range(200):
            duplex.inward.put_nowait({"type": "websocket.receive", "bytes": bytes(100)})
        await wait_until(lambda: hub.stats().messages == 200)
        duplex.open.set()
        await duplex.left()
        publisher, subscriber = await Client(hub, "/a", "publisher").joined(), hub.subscribe("/a")
        await fill_until_paced(hub, subscriber)
        publisher.inward.put_nowait({"type": "websocket.receive", "text": "waits"})
        await asyncio.sleep(0.05)
        assert hub.stats().messages == 200
        while hub.stats().messages == 200:
            await anext(subscriber)
        subscriber.close()
        await publisher.left()


async def test_a_server_that_cancels_a_call_of_its_own_ends_the_client() -> None:
    async def cancelled() -> Any:
        raise asyncio.CancelledError

    async with Hub() as hub:
        client = Client(hub, "/a")
        await client.joined()
        client.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.task
        assert hub.stats().departures == {"aborted": 1}
        calls: list[Callable[[], Awaitable[Any]]] = [client.inward.get, cancelled]
        client.inward.put_nowait({"type": "websocket.connect"})

        async def receive() -> Any:
            return await calls.pop(0)()

        scope = {"type": "websocket", "path": "/a", "query_string": b"pubsub=publisher", "headers": []}
        async with asyncio.timeout(PATIENCE):
            await hub(scope, receive, client.send)
        assert hub.stats().departures == {"aborted": 2}


async def test_streams_of_events_come_and_go_while_clients_do() -> None:
    async with Hub() as hub:
        stop = threading.Event()
        errors: list[BaseException] = []

        def listen() -> None:
            try:
                while not stop.is_set():
                    hub.events().close()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=listen)
        thread.start()
        for _ in range(200):
            await (await Client(hub, "/a").joined()).left()
        stop.set()
        thread.join(PATIENCE)
        assert errors == []
        stats = hub.stats()
        assert (stats.subscribers, stats.departures) == (0, {"closed": 200})


@pytest.mark.parametrize("drain", [-1.0, float("nan"), "soon", None], ids=repr)
async def test_a_drain_that_cannot_be_is_refused_and_the_hub_goes_on(drain: float) -> None:
    async with Hub() as hub:
        with pytest.raises(MisuseError, match="drain="):
            await hub.close(drain=drain)
        assert hub.publish("/a", b"goes on") == 1

"""The hub by Starlette's test client: roles, topics, options, events, life, and the program's own side."""

import asyncio
import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from pubsub import ConfigError, Hub, MisuseError, Options, Overloaded
from tests.support.rawclient import KEY, PATIENCE, RawClient, request


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(Options(max_message_bytes=1000, close_deadline=1.0, allow_hosts=("testserver",)))
    yield hub
    asyncio.run(hub.close())


def application(hub: Hub) -> Starlette:
    return Starlette(routes=[Mount("/live", hub)], lifespan=hub.lifespan)


@pytest.fixture
def client(hub: Hub) -> Iterator[TestClient]:
    with TestClient(application(hub)) as client:
        yield client


def until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def gone(hub: Hub, **causes: int) -> None:
    until(lambda: sum(hub.stats().departures.values()) >= sum(causes.values()))
    assert hub.stats().departures == causes


# --- messages -------------------------------------------------------------------------------------------------------


def test_what_is_published_reaches_subscribers_whoever_publishes_it(hub: Hub, client: TestClient) -> None:
    with (
        client.websocket_connect("/live/a?pubsub=subscriber") as subscriber,
        client.websocket_connect("/live/a", headers={"pubsub": "publisher"}) as publisher,
    ):
        publisher.send_bytes(b"binary")
        assert subscriber.receive_bytes() == b"binary"
        publisher.send_text("text")
        assert subscriber.receive_text() == "text"
        assert hub.publish("/a", b"from here") == 3
        assert subscriber.receive_bytes() == b"from here"
        stats = hub.stats()
        assert (stats.publishers, stats.subscribers, stats.messages, stats.message_bytes) == (1, 1, 2, 10)


def test_a_duplex_client_gets_its_own_and_browsers_choose_by_subprotocol(client: TestClient) -> None:
    with client.websocket_connect("/live/a", subprotocols=["pubsub.duplex"]) as duplex:
        assert duplex.accepted_subprotocol == "pubsub.duplex"
        duplex.send_text("to all")
        assert duplex.receive_text() == "to all"


def test_the_answer_has_id_epoch_and_offset(hub: Hub, client: TestClient) -> None:
    hub.publish("/a", "1")
    with client.websocket_connect("/live/a?pubsub=subscriber&name=bob") as subscriber:
        headers: dict[bytes, bytes] = dict(subscriber.extra_headers or [])
        assert headers[b"pubsub-client-id"].startswith(b"bob-")
        assert headers[b"pubsub-epoch"] == b"%d" % hub.topic("/a").epoch
        assert headers[b"pubsub-offset"] == b"2"


def test_topics_are_apart_and_escaped_as_they_came(hub: Hub, client: TestClient) -> None:
    with client.websocket_connect("/live/caf%C3%A9?pubsub=subscriber") as subscriber:
        hub.publish("/other", "no")
        hub.publish("/café", "yes")
        assert subscriber.receive_text() == "yes"


def test_what_a_subscriber_sends_is_counted_and_thrown_away(hub: Hub, client: TestClient) -> None:
    with client.websocket_connect("/live/a?pubsub=subscriber") as subscriber:
        subscriber.send_text("junk")
        until(lambda: hub.stats().ignored_messages == 1)
        hub.publish("/a", "x")
        assert subscriber.receive_text() == "x"


@pytest.mark.parametrize("role", ["publisher", "subscriber"])
def test_a_message_over_the_limit_closes_with_1009(hub: Hub, client: TestClient, role: str) -> None:
    with client.websocket_connect(f"/live/a?pubsub={role}") as peer:
        peer.send_bytes(bytes(1000))
        peer.send_text("é" * 501)
        with pytest.raises(WebSocketDisconnect) as closed:
            peer.receive_bytes()
        assert closed.value.code == 1009 and "max_message_bytes=1000" in closed.value.reason
    gone(hub, too_big=1)
    assert hub.stats().messages == (role == "publisher")


def test_under_latest_a_reader_gets_the_newest(client: TestClient) -> None:
    hub = Hub(Options(overflow=("/prices/*=latest",)))  # type: ignore[arg-type]
    with TestClient(application(hub)) as client, client.websocket_connect("/live/prices/a?pubsub=subscriber") as peer:
        assert b"pubsub-offset" not in dict(peer.extra_headers or [])
        hub.publish("/prices/a", "1")
        assert peer.receive_text() == "1"


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "headers", "status", "says"),
    [
        ("/live/a", {}, 400, "no role is given"),
        ("/live/a?pubsub=nobody", {}, 400, "role 'nobody' is unknown"),
        ("/live/a?pubsub=publisher", {"pubsub": "subscriber"}, 400, "disagree"),
        ("/live/a?pubsub=publisher", {"origin": "http://elsewhere.example"}, 403, "allow_origins"),
        ("/live/a?pubsub=publisher", {"host": "evil.example"}, 421, "allow_hosts"),
        ("/live/a?pubsub=check", {"host": "evil.example"}, 421, "allow_hosts"),
        ("/live/a?pubsub=publisher&name=a/b", {}, 400, "client name"),
    ],
)
def test_a_refusal_has_its_status_and_one_line(
    hub: Hub, client: TestClient, target: str, headers: dict[str, str], status: int, says: str
) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(target, headers=headers):
        pass
    assert refused.value.status_code == status and says in refused.value.text
    assert hub.stats().refusals == {status: 1}


def test_a_page_of_the_application_itself_may_connect(client: TestClient) -> None:
    with client.websocket_connect("/live/a?pubsub=subscriber", headers={"origin": "http://testserver"}):
        pass


def test_where_the_server_takes_no_responses_it_is_closed() -> None:
    hub = Hub()
    sent: list[object] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    asyncio.run(hub({"type": "websocket", "path": "/a", "headers": []}, receive, send))
    assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1008)]  # type: ignore[index]
    asyncio.run(hub.close())


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/live/a?pubsub=subscriber", {}, 426),
        ("HEAD", "/live/a?pubsub=subscriber", {}, 426),
        ("POST", "/live/a?pubsub=subscriber", {}, 426),
        ("GET", "/live/a", {}, 400),
    ],
)
def test_what_is_no_websocket_is_told_so(
    client: TestClient, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    answer = client.request(method, target, headers=headers)
    assert answer.status_code == status
    assert (answer.text == "") == (method == "HEAD")
    if status == 426:
        assert answer.headers["upgrade"] == "websocket" and answer.headers["sec-websocket-version"] == "13"


def test_an_upgrade_that_the_web_server_passes_on_as_plain_http_has_one_cure(client: TestClient) -> None:
    # As uvicorn does with `--ws none`.
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
    answer = client.get("/live/a?pubsub=subscriber", headers=upgrade)
    assert answer.status_code == 400
    assert answer.text.rstrip().endswith("give it a WebSocket library (uvicorn: websockets)")


def test_check_is_a_whole_handshake_and_nothing_else(hub: Hub, client: TestClient) -> None:
    with client.websocket_connect("/live/a?pubsub=check") as peer, pytest.raises(WebSocketDisconnect) as closed:
        peer.receive_text()
    assert closed.value.code == 1000
    assert hub.stats().departures == {}


# --- a route that decides -------------------------------------------------------------------------------------------


def test_a_route_of_the_programs_own_decides_on_topic_and_role(hub: Hub) -> None:
    async def room(websocket: WebSocket) -> None:
        topic = "/rooms/" + websocket.path_params["room"]
        await hub.handle(websocket.scope, websocket.receive, websocket.send, topic=topic, role="subscriber")

    app = Starlette(routes=[WebSocketRoute("/rooms/{room}", room)], lifespan=hub.lifespan)
    with TestClient(app) as client, client.websocket_connect("/rooms/blue?pubsub=publisher&name=bob") as peer:
        peer.send_text("is thrown away")
        hub.publish("/rooms/blue", "x")
        assert peer.receive_text() == "x"
        until(lambda: hub.stats().ignored_messages == 1)


@pytest.mark.parametrize(("topic", "role"), [("/a", "boss"), ("a", "subscriber"), ("/a", "check")])
async def test_what_a_route_decides_must_make_sense(hub: Hub, topic: str, role: str) -> None:
    async def never(*_: object) -> dict[str, str]:
        raise AssertionError

    with pytest.raises(MisuseError):
        await hub.handle({"type": "websocket"}, never, never, topic=topic, role=role)  # type: ignore[arg-type]


def test_a_route_that_has_accepted_already_is_told_so_at_once(hub: Hub) -> None:
    async def room(websocket: WebSocket) -> None:
        await websocket.accept()
        await hub.handle(websocket.scope, websocket.receive, websocket.send, topic="/a", role="subscriber")

    app = Starlette(routes=[WebSocketRoute("/a", room)], lifespan=hub.lifespan)
    with TestClient(app) as client, pytest.raises(MisuseError, match=r"leave out `await websocket\.accept\(\)`"):
        with client.websocket_connect("/a") as peer:
            peer.receive_text()


@pytest.mark.parametrize("role", ["subscriber", "publisher"])
async def test_so_is_one_of_another_framework_when_its_client_sends_something(hub: Hub, role: str) -> None:
    async def receive() -> dict[str, str]:
        return {"type": "websocket.receive", "text": "x"}

    async def send(_message: object) -> None:
        raise AssertionError

    with pytest.raises(MisuseError, match="accepted already"):
        await hub.handle({"type": "websocket", "path": "/a", "headers": []}, receive, send, topic="/a", role=role)
    assert hub.stats().connections == 0


async def test_a_client_that_leaves_before_it_is_answered_is_no_error(hub: Hub) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(_message: object) -> None:
        raise AssertionError

    await hub({"type": "websocket", "path": "/a", "query_string": b"pubsub=duplex", "headers": []}, receive, send)


# --- the program's own side -----------------------------------------------------------------------------------------


def test_plain_def_endpoints_publish_from_their_threads(hub: Hub) -> None:
    app = FastAPI(lifespan=hub.lifespan)
    app.mount("/live", hub)
    threads = set()

    @app.post("/say")
    def say(text: str) -> int:
        threads.add(threading.get_ident())
        return hub.publish("/chat", text)

    with TestClient(app) as client, client.websocket_connect("/live/chat?pubsub=subscriber") as subscriber:
        for number in range(20):
            assert client.post(f"/say?text={number}").json() == number + 1
        assert [subscriber.receive_text() for _ in range(20)] == [str(number) for number in range(20)]
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("data", [{"a": 1}, None, 3])
def test_what_is_neither_text_nor_bytes_cannot_be_published(hub: Hub, data: Any) -> None:
    with pytest.raises(MisuseError, match=f"a {type(data).__name__} cannot be sent here: .*; give bytes or str"):
        hub.publish("/a", data)
    assert hub.stats().messages == 0


async def test_readers_and_events_of_the_hub_itself() -> None:
    async with Hub() as hub:
        events = hub.events()
        async with hub.subscribe("/a") as reader:
            hub.publish("/a", "x")
            assert await anext(reader) == "x"
        await hub.room("/a")
        del events
    with pytest.raises(MisuseError, match="this hub is closed"):
        hub.publish("/a", "x")


def test_events_tell_of_clients_in_whatever_loop_they_are_served(hub: Hub, client: TestClient) -> None:
    got: list[str] = []

    async def read() -> None:
        async for event in hub.events():
            got.append(event.type.label)

    reader = threading.Thread(target=lambda: asyncio.run(read()))
    reader.start()
    until(lambda: hub._running().streams.wanted)
    with client.websocket_connect("/live/a?pubsub=duplex"):
        until(lambda: len(got) == 2)
    until(lambda: len(got) == 4)
    assert got == ["PublisherJoined", "SubscriberJoined", "PublisherLeft", "SubscriberLeft"]
    with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/live/a"):
        pass
    until(lambda: got[4:] == ["BadHTTPHeaders"])
    asyncio.run(hub.close())
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_at_the_memory_limit_publish_says_so() -> None:
    hub = Hub(Options(max_memory_bytes=1 << 20))
    with TestClient(application(hub)), pytest.raises(Overloaded):
        hub.publish("/a", bytes(2 << 20))


def test_without_threads_nobody_would_drive_it() -> None:
    with pytest.raises(ConfigError, match="io_threads=0 leaves nobody to drive"):
        Hub(Options(io_threads=0))


@pytest.mark.parametrize("options", [{}, {"max_lag_bytes": 1}, Options])
def test_options_are_options(options: Any) -> None:
    with pytest.raises(MisuseError, match=r"options=.* is no Options; give pubsub\.Options"):
        Hub(options)


# --- life -----------------------------------------------------------------------------------------------------------


def test_it_works_without_a_lifespan_and_in_as_many_loops_as_clients(hub: Hub) -> None:
    client = TestClient(Starlette(routes=[Mount("/live", hub)]))  # each of its connections has a loop of its own
    with (
        client.websocket_connect("/live/a?pubsub=subscriber") as one,
        client.websocket_connect("/live/a?pubsub=subscriber") as other,
        client.websocket_connect("/live/a?pubsub=publisher") as publisher,
    ):
        publisher.send_text("x")
        assert one.receive_text() == other.receive_text() == "x"
    gone(hub, closed=3)


def test_it_begins_again_with_its_lifespan(hub: Hub) -> None:
    app = application(hub)
    epochs = set()
    for _ in range(2):
        with TestClient(app) as client, client.websocket_connect("/live/a?pubsub=subscriber") as subscriber:
            assert hub.publish("/a", "x") == 1
            assert subscriber.receive_text() == "x"
            epochs.add(hub.topic("/a").epoch)
    assert len(epochs) == 2


def test_it_is_a_whole_application_by_itself() -> None:
    hub = Hub()
    with TestClient(hub) as client, client.websocket_connect("/a?pubsub=duplex") as duplex:
        duplex.send_text("x")
        assert duplex.receive_text() == "x"

    async def use_again() -> None:
        async with hub:
            hub.publish("/a", "y")

    asyncio.run(use_again())
    with pytest.raises(MisuseError, match="this hub is closed"):
        hub.publish("/a", "z")


@pytest.mark.parametrize("drain", [0.0, 5.0])
def test_closing_it_closes_its_clients_with_1012(hub: Hub, client: TestClient, drain: float) -> None:
    with (
        client.websocket_connect("/live/a?pubsub=duplex") as duplex,
        client.websocket_connect("/live/a?pubsub=publisher") as publisher,
    ):
        hub.publish("/a", "last")
        closing = threading.Thread(target=lambda: asyncio.run(hub.close(drain=drain)))
        closing.start()
        if drain:
            assert duplex.receive_text() == "last"
        for peer in (duplex, publisher):
            with pytest.raises(WebSocketDisconnect) as closed:
                while True:
                    peer.receive_text()
            assert closed.value.code == 1012
        closing.join(PATIENCE)
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/live/a?pubsub=duplex"):
        pass
    assert refused.value.status_code == 503


def test_a_forked_child_has_a_hub_of_its_own(hub: Hub, client: TestClient) -> None:
    assert hub.publish("/a", "x") == 1
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ends[1], b"%d %d" % (hub.publish("/a", "y"), hub.stats().topics))
        os._exit(0)
    os.close(ends[1])
    with os.fdopen(ends[0], "rb") as answer:
        assert answer.read() == b"1 1"
    os.waitpid(child, 0)
    assert hub.publish("/a", "z") == 2


def test_one_that_is_dropped_gives_everything_back() -> None:
    hub = Hub()
    hub.publish("/a", "x")
    del hub
    gc.collect()


# --- a port of its own ----------------------------------------------------------------------------------------------


async def test_the_same_topics_have_a_port_of_their_own() -> None:
    from pubsub import Publisher, Subscriber

    async with Hub() as hub, hub.listen(port=0) as server:
        with pytest.raises(MisuseError, match="this hub listens on"):
            await hub.listen(port=0)
        async with Subscriber(f"{server.url}/a") as subscriber, Publisher(f"{server.url}/a") as publisher:
            hub.publish("/a", b"from the hub")
            await publisher.publish(b"from the port")
            await publisher.flush()
            async with hub.subscribe("/a") as reader:
                server.publish("/a", b"from the server")
                assert await anext(reader) == b"from the server"
            got = [await anext(subscriber) for _ in range(3)]
            assert got == [b"from the hub", b"from the port", b"from the server"]
            assert hub.stats() == server.stats()
            assert json.loads(hub.stats().to_json())["publishers"] == 1


async def test_closing_that_server_leaves_the_hub_and_another_can_follow() -> None:
    from pubsub import ConnectionClosed, Subscriber

    async with Hub() as hub:
        for number in range(2):
            async with hub.listen(port=0) as server:
                subscriber = Subscriber(f"{server.url}/a")
                await subscriber.__aenter__()
            with pytest.raises(ConnectionClosed) as closed:
                await anext(subscriber)
            assert closed.value.code == 1012
            await subscriber.close()
            assert hub.publish("/a", b"x") == number + 1
            assert hub.stats().subscribers == 0


async def test_of_a_server_that_closes_while_the_loop_is_busy_no_client_is_left_in_the_counts() -> None:
    async with Hub() as hub:
        server = await hub.listen(port=0)
        clients = []
        for _ in range(150):
            client = await RawClient.dial(server.port)
            await client.upgrade(request("/a"))
            clients.append(client)
        let_go = server._let_go

        async def let_go_in_a_hurry() -> None:
            asyncio.get_running_loop().call_soon(time.sleep, 0.7)  # longer than it waits for those it resets
            await let_go()

        server._let_go = let_go_in_a_hurry  # type: ignore[method-assign]
        await server.close()
        for client in clients:
            client.close()
        stats = hub.stats()
        assert (stats.connections, stats.subscribers, sum(stats.departures.values())) == (0, 0, 150)

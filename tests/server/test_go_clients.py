"""Clients of the Go program websocket-pubsub work unchanged: its headers, its ids, its events."""

import json
import re

import pytest

from pubsub.events import EventType
from tests.support.rawclient import BINARY, KEY, TEXT, RawClient, close_frame, frame, request
from tests.support.server import Scene, serving

UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def gorilla_request(port: int, role: str, name: str = "", target: str = "/prices") -> bytes:
    """Byte for byte what gorilla/websocket writes: Go's order, the program's own headers in lower case."""
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "User-Agent: Go-http-client/1.1",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
        f"pubsub: {role}",
        *([f"pubsub-client-name: {name}"] if name else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def join_as_go(scene: Scene, role: str, name: str = "", target: str = "/prices") -> RawClient:
    client = await scene.dial()
    await client.upgrade(gorilla_request(scene.server.port, role, name, target))
    return client


async def test_a_gorilla_publisher_reaches_a_gorilla_subscriber() -> None:
    async with serving() as scene:
        subscriber = await join_as_go(scene, "subscriber")
        publisher = await join_as_go(scene, "publisher")
        await publisher.send(frame(b"42"))
        assert await subscriber.read_frame() == (BINARY, b"42", True)


async def test_headers_as_go_canonicalises_them_are_the_same_headers() -> None:
    async with serving() as scene:
        client = await scene.dial()
        extra = (("Pubsub", "subscriber"), ("Pubsub-Client-Name", "canonical"))
        await client.upgrade(request("/t", *extra, role=None))
        assert client.client_id.startswith("canonical-")


async def test_an_empty_binary_message_arrives_as_one() -> None:
    async with serving() as scene:
        subscriber = await join_as_go(scene, "subscriber")
        publisher = await join_as_go(scene, "publisher")
        await publisher.send(frame(b""))
        assert await subscriber.read_frame() == (BINARY, b"", True)


async def test_the_type_of_a_message_is_kept() -> None:
    async with serving() as scene:
        subscriber = await join_as_go(scene, "subscriber")
        publisher = await join_as_go(scene, "publisher")
        await publisher.send(frame("", TEXT) + frame("grün", TEXT) + frame("grün".encode()))
        assert await subscriber.read_messages(3) == ["", "grün", "grün".encode()]


@pytest.mark.parametrize(
    ("name", "pattern"), [("till", f"till-{UUID4}"), ("", f"-{UUID4}"), ("a-b.c_d~9", f"a-b.c_d~9-{UUID4}")]
)
async def test_a_client_id_is_its_name_and_a_uuid4(name: str, pattern: str) -> None:
    async with serving() as scene:
        client = await join_as_go(scene, "subscriber", name)
        assert re.fullmatch(pattern, client.client_id)


async def test_two_clients_of_one_name_have_two_ids() -> None:
    async with serving() as scene:
        ids = {(await join_as_go(scene, "subscriber", "twin")).client_id for _ in range(2)}
        assert len(ids) == 2


async def test_events_come_in_order_with_the_ids_and_the_topic() -> None:
    async with serving() as scene:
        publisher = await join_as_go(scene, "publisher", "pub", "/a%20b?x=1")
        subscriber = await join_as_go(scene, "subscriber", "sub", "/a%20b")
        await publisher.send(close_frame())
        assert await publisher.read_close() == (1000, "")
        publisher.close()
        assert await scene.next_events(3) == [
            (EventType.PUBLISHER_JOINED, publisher.client_id, "/a%20b"),
            (EventType.SUBSCRIBER_JOINED, subscriber.client_id, "/a%20b"),
            (EventType.PUBLISHER_LEFT, publisher.client_id, "/a%20b"),
        ]
        subscriber.reset()
        assert await scene.next_events(1) == [(EventType.SUBSCRIBER_LEFT, subscriber.client_id, "/a%20b")]


async def test_events_as_json_have_the_go_programs_keys_and_numbers() -> None:
    async with serving() as scene:
        subscriber = await join_as_go(scene, "subscriber", "sub")
        event = json.loads((await scene.next_event()).to_json())
        assert event == {"clientID": subscriber.client_id, "subscriptionTopic": "/prices", "type": 4}
        await scene.ask(request("/x", role="nonsense"))
        assert json.loads((await scene.next_event()).to_json()) == {
            "clientID": "",
            "subscriptionTopic": "/x",
            "type": 6,
        }
        await scene.ask(request("/y", without=["Sec-WebSocket-Version"]))
        assert json.loads((await scene.next_event()).to_json())["type"] == 5


# --- topics ---------------------------------------------------------------------------------------------------------

ONE_TOPIC = [
    ("/a", "/a?x=1"),
    ("/a", "http://other.example/a"),
    ("/a", "HTTP://other.example:80/a?role=no"),
    ("/a%20b", "/a%20b"),
    ("/", "/?x"),
    ("/", "http://other.example"),
    ("//a", "//a"),
]
TWO_TOPICS = [("/a", "/a/"), ("/a%20b", "/a+b"), ("/a", "/A"), ("/%61", "/a"), ("/", "//"), ("/a/../b", "/b")]


async def reached(publishes_to: str, subscribes_to: str) -> bool:
    """Whether a message to the one comes out at the other; a later message, to the other, shows that it did not."""
    async with serving() as scene:
        subscriber = await scene.join(subscribes_to)
        publisher = await scene.join(publishes_to, "publisher")
        sentinel = await scene.join(subscribes_to, "publisher")
        await publisher.send(frame(b"there") + close_frame())
        assert await publisher.read_close() == (1000, "")
        await sentinel.send(frame(b"sentinel"))
        return await subscriber.read_message() == b"there"


@pytest.mark.parametrize(("publishes_to", "subscribes_to"), ONE_TOPIC)
async def test_these_targets_are_one_topic(publishes_to: str, subscribes_to: str) -> None:
    assert await reached(publishes_to, subscribes_to)


@pytest.mark.parametrize(("publishes_to", "subscribes_to"), TWO_TOPICS)
async def test_these_targets_are_two_topics(publishes_to: str, subscribes_to: str) -> None:
    assert not await reached(publishes_to, subscribes_to)


async def test_an_absolute_target_gives_its_path_as_the_topic_of_events() -> None:
    async with serving() as scene:
        await scene.join("http://other.example/a%2Fb?c", "publisher")
        assert (await scene.next_event()).subscription_topic == "/a%2Fb"

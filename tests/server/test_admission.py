"""Who is let in, as what, and what those hear who are not: the order of checks is head, role, upgrade, Origin, name."""

from collections.abc import Callable

import pytest

from pubsub.events import EventType
from tests.support.rawclient import RawClient, Response, frame, request
from tests.support.server import Scene, serving

BAD_HEADERS, UPGRADE_FAILED = EventType.BAD_HTTP_HEADERS, EventType.WEBSOCKET_UPGRADE_FAILED
PROTOCOLS = "Sec-WebSocket-Protocol"


def by_header(role: str) -> bytes:
    return request("/t", role=role)


def by_subprotocol(role: str) -> bytes:
    return request("/t", (PROTOCOLS, f"pubsub.{role}"), role=None)


def by_query(role: str) -> bytes:
    return request(f"/t?pubsub={role}", role=None)


def by_all(role: str) -> bytes:
    return request(f"/t?x=1&pubsub={role}", (PROTOCOLS, f"other, pubsub.{role}"), role=role)


WAYS = [by_header, by_subprotocol, by_query, by_all]


async def let_in(scene: Scene, head: bytes) -> RawClient:
    client = await scene.dial()
    await client.upgrade(head)
    return client


@pytest.mark.parametrize("way", WAYS)
async def test_a_role_is_given_by_header_subprotocol_or_query(way: Callable[[str], bytes]) -> None:
    async with serving() as scene:
        subscriber = await let_in(scene, way("subscriber"))
        publisher = await let_in(scene, way("publisher"))
        await publisher.send(frame(b"hello"))
        assert await subscriber.read_message() == b"hello"
        assert [event for event, _, _ in await scene.next_events(2)] == [
            EventType.SUBSCRIBER_JOINED,
            EventType.PUBLISHER_JOINED,
        ]


@pytest.mark.parametrize("way", WAYS)
async def test_a_duplex_client_is_both_and_receives_its_own_in_the_topics_order(way: Callable[[str], bytes]) -> None:
    async with serving() as scene:
        one, other = await let_in(scene, way("duplex")), await let_in(scene, way("duplex"))
        await one.send(frame(b"1"))
        assert await other.read_message() == b"1"
        await other.send(frame(b"2"))
        assert await one.read_messages(2) == [b"1", b"2"]
        assert await other.read_message() == b"2"
        one.close()
        events = await scene.next_events(6)
        assert [(event, who) for event, who, _ in events if who == one.client_id] == [
            (EventType.PUBLISHER_JOINED, one.client_id),
            (EventType.SUBSCRIBER_JOINED, one.client_id),
            (EventType.PUBLISHER_LEFT, one.client_id),
            (EventType.SUBSCRIBER_LEFT, one.client_id),
        ]


@pytest.mark.parametrize(
    ("offered", "role", "answered"),
    [
        ("pubsub.subscriber", None, "pubsub.subscriber"),
        ("chat, pubsub.duplex, pubsub", None, "pubsub.duplex"),
        ("pubsub.publisher, pubsub.subscriber", None, "pubsub.publisher"),
        ("pubsub", "subscriber", "pubsub"),
        ("chat,pubsub", "publisher", "pubsub"),
        ("pubsub, pubsub.subscriber", "subscriber", "pubsub.subscriber"),
    ],
)
async def test_an_offered_subprotocol_is_answered(offered: str, role: str | None, answered: str) -> None:
    async with serving() as scene:
        client = await let_in(scene, request("/t", (PROTOCOLS, offered), role=role))
        assert client.header["sec-websocket-protocol"] == answered


async def test_without_an_offer_no_subprotocol_and_no_extension_is_answered() -> None:
    async with serving() as scene:
        head = request("/t", ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"))
        client = await let_in(scene, head)
        assert "sec-websocket-protocol" not in client.header
        assert "sec-websocket-extensions" not in client.header


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({}, request("/t", ("Origin", "http://127.0.0.1:8080"))),
        ({}, request("/t", ("Origin", "HTTP://127.0.0.1:8080"))),
        ({"allow_origins": ("https://*.a.example",)}, request("/t", ("Origin", "https://b.a.example"))),
        ({"allow_origins": ("*",)}, request("/t", ("Origin", "null"))),
        ({"allow_hosts": ("a.example",)}, request("/t", ("Host", "a.example:80"), without=["Host"])),
        ({"allow_hosts": ("a.example",)}, request("/t")),
        ({}, request("/t?name=till")),
        ({}, request("/t?name=till", ("pubsub-client-name", "till"))),
        ({}, request("/t", ("pubsub-client-name", "n" * 64))),
    ],
)
async def test_these_are_let_in(options: dict[str, object], head: bytes) -> None:
    async with serving(**options) as scene:
        await let_in(scene, head)


# --- refusals -------------------------------------------------------------------------------------------------------

NO_UPGRADE = ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
FOREIGN = ("Origin", "http://foreign.example")
HOSTS = ("a.example",)  # and addresses

# request, status, event, words that the body must have
REFUSALS = {
    "no role": (request("/t", role=None), 400, BAD_HEADERS, ["no role", "publisher, subscriber or duplex"]),
    "unknown role": (request("/t", role="boss"), 400, BAD_HEADERS, ["'boss'", "publisher, subscriber or duplex"]),
    "role in capitals": (request("/t", role="Publisher"), 400, BAD_HEADERS, ["'Publisher'"]),
    "empty role": (request("/t?pubsub="), 400, BAD_HEADERS, ["''"]),
    "header and query disagree": (request("/t?pubsub=publisher"), 400, BAD_HEADERS, ["publisher", "disagree"]),
    "header and subprotocol disagree": (
        request("/t", (PROTOCOLS, "pubsub.duplex")),
        400,
        BAD_HEADERS,
        ["duplex", "disagree"],
    ),
    "two headers disagree": (request("/t", ("pubsub", "publisher")), 400, BAD_HEADERS, ["disagree"]),
    "plain GET with a role": (request("/t", without=NO_UPGRADE), 426, UPGRADE_FAILED, ["WebSocket"]),
    "other upgrade": (
        request("/t", ("Upgrade", "h2c"), without=["Upgrade"]),
        400,
        UPGRADE_FAILED,
        ["'h2c'", "Upgrade: websocket"],
    ),
    "no connection": (request("/t", without=["Connection"]), 400, UPGRADE_FAILED, ["Connection: Upgrade"]),
    "no key": (request("/t", without=["Sec-WebSocket-Key"]), 400, UPGRADE_FAILED, ["Sec-WebSocket-Key", "16"]),
    "POST": (request(line="POST /t HTTP/1.1"), 400, UPGRADE_FAILED, ["'POST'", "GET"]),
    "version 8": (
        request("/t", ("Sec-WebSocket-Version", "8"), without=["Sec-WebSocket-Version"]),
        426,
        UPGRADE_FAILED,
        ["'8'", "13"],
    ),
    "unknown subprotocols": (
        request("/t", (PROTOCOLS, "chat, soap")),
        400,
        UPGRADE_FAILED,
        ["chat, soap", "pubsub.subscriber"],
    ),
    "another host": (
        request("/t", ("Host", "evil.example"), FOREIGN, without=["Host"]),
        421,
        UPGRADE_FAILED,
        ["'evil.example'", "--allow-hosts"],
    ),
    "another host's check": (
        request("/t", ("Host", "evil.example"), role="check", without=["Host"]),
        421,
        UPGRADE_FAILED,
        ["--allow-hosts"],
    ),
    "foreign origin": (request("/t", FOREIGN), 403, UPGRADE_FAILED, ["http://foreign.example", "allow_origins"]),
    "long name": (request("/t", ("pubsub-client-name", "n" * 65)), 400, BAD_HEADERS, ["65", "64"]),
    "bad name": (request("/t?name=a%20b"), 400, BAD_HEADERS, ["'a b'", "64"]),
    "names disagree": (request("/t?name=a", ("pubsub-client-name", "b")), 400, BAD_HEADERS, ["'a'", "'b'"]),
    # The head comes before everything, and has no event.
    "bad key": (
        request("/t", ("Sec-WebSocket-Key", "short"), without=["Sec-WebSocket-Key"], role=None),
        400,
        None,
        ["'short'", "16"],
    ),
    "a body": (request("/t", ("Content-Length", "3"), role=None), 400, None, ["content-length", "without"]),
    "a chunked body": (request("/t", ("Transfer-Encoding", "chunked")), 400, None, ["transfer-encoding", "without"]),
    "HTTP/1.0": (request(line="GET /t HTTP/1.0", role=None), 400, None, ["HTTP/1.0", "HTTP/1.1"]),
    "no host": (request("/t", without=["Host"]), 400, None, ["HTTP/1.1"]),
    "not ASCII": (request("/t", ("X-Name", "grün")), 400, None, ["ASCII"]),
    "not a path": (request("t"), 400, None, ["'t'", "path"]),
    # The order: role before upgrade before Host before Origin before name.
    "bad role, no upgrade, foreign": (
        request("/t", FOREIGN, role=None, without=NO_UPGRADE),
        400,
        BAD_HEADERS,
        ["no role"],
    ),
    "no upgrade, foreign": (request("/t", FOREIGN, without=NO_UPGRADE), 426, UPGRADE_FAILED, ["WebSocket"]),
    "foreign, bad name": (request("/t?name=%00", FOREIGN), 403, UPGRADE_FAILED, ["foreign"]),
}


def check_refusal(answer: Response | None, status: int, words: list[str]) -> None:
    """A whole HTTP/1.1 response whose body is one line of text with these words."""
    assert answer is not None
    assert answer.status == status, answer
    assert answer.body.endswith("\n") and answer.body.count("\n") == 1
    assert all(word in answer.body for word in words), answer.body
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "close" in answer.headers["connection"].lower()
    if status == 426:
        assert answer.headers["upgrade"] == "websocket"
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_has_its_status_line_headers_and_event(case: str, bytewise: bool) -> None:
    data, status, event, words = REFUSALS[case]
    async with serving(allow_hosts=HOSTS) as scene:
        client = await scene.ask(data, bytewise=bytewise)
        check_refusal(client.response, status, words)
        assert scene.server.stats().refusals == {status: 1}
        # A second refusal, with an event, shows whether the first had one.
        await scene.ask(request("/later", role=None))
        expected = [] if event is None else [(event, "", "/t")]
        assert await scene.next_events(len(expected) + 1) == [*expected, (BAD_HEADERS, "", "/later")]


async def test_the_answer_to_head_has_no_body() -> None:
    async with serving() as scene:
        client = await scene.dial()
        await client.send(request(line="HEAD /t HTTP/1.1", without=NO_UPGRADE))
        head, _, body = (await client.read_rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 426 ") and body == b""


async def test_a_refused_client_changes_nothing_for_those_inside() -> None:
    async with serving(allow_hosts=HOSTS) as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        for data, _, _, _ in REFUSALS.values():
            await scene.ask(data)
        await publisher.send(frame(b"undisturbed"))
        assert await subscriber.read_message() == b"undisturbed"
        assert scene.departures == {}


async def test_a_health_check_is_answered_with_a_close_and_no_event() -> None:
    async with serving() as scene:
        client = await let_in(scene, request("/t", role="check"))
        assert await client.read_close() == (1000, "")
        await client.read_end()
        await scene.join("/t", "publisher")
        assert (await scene.next_event()).type is EventType.PUBLISHER_JOINED

"""Limits at their edges: what is at the limit passes, one more gets its status or its code, and nobody else notices."""

import asyncio
import os
import signal

import pytest

from pubsub import arrival
from pubsub.errors import MisuseError, Overloaded
from tests.support.processes import stop_process
from tests.support.rawclient import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawClient,
    Response,
    close_frame,
    frame,
    request,
)
from tests.support.server import Scene, server_process, serving, wait_until

POLICY = 1008
WAYS = pytest.mark.parametrize("lane", [True, False], ids=["lane", "wsproto"])


async def refused(scene: Scene, head: bytes) -> Response:
    client = await scene.ask(head)
    assert client.response is not None
    return client.response


async def nobody_else_notices(scene: Scene, subscriber: RawClient) -> None:
    scene.server.publish("/t", b"still here")
    assert await subscriber.read_message() == b"still here"


def limited(scene: Scene) -> dict[str, int]:
    return dict(scene.server.stats().limited)


# --- connections ----------------------------------------------------------------------------------------------------


async def test_one_connection_more_than_max_connections_gets_503() -> None:
    async with serving(max_connections=3) as scene:
        stays, leaves, waiting = await scene.join(), await scene.join(), await scene.dial()
        await wait_until(lambda: scene.server.stats().connections == 3, "a connection without a request counted")
        response = await refused(scene, request("/t"))
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert "max_connections" in response.body
        assert (limited(scene), scene.server.stats().refusals) == ({"max_connections": 1}, {503: 1})
        leaves.close()
        await scene.wait_departures(left=1)
        await scene.join()
        await waiting.upgrade(request("/t"))
        await nobody_else_notices(scene, stays)


async def test_who_was_turned_away_may_come_in_when_there_is_room() -> None:
    async with serving(max_connections=1) as scene:
        first = await scene.join()
        for _ in range(5):
            assert (await refused(scene, request("/t"))).status == 503
        first.close()
        await scene.wait_empty()
        await scene.join()
        assert scene.server.stats().connections == 1


async def test_a_crowd_over_the_limit_leaves_no_descriptor_behind() -> None:
    async with serving(max_connections=2, close_deadline=0.1, ping_interval=0.1, pong_deadline=5.0) as scene:
        stays = await scene.join()
        await scene.join()
        crowd = [await scene.dial() for _ in range(400)]
        await wait_until(lambda: limited(scene) == {"max_connections": 400}, "everybody turned away")
        for client in crowd:
            client.close()
        await nobody_else_notices(scene, stays)
    # What is left open is the leak check's to find.


async def test_more_upgrades_than_max_upgrades_per_second_get_503() -> None:
    async with serving(max_upgrades_per_second=1) as scene:
        clients = [await asking(scene) for _ in range(20)]
        statuses = [client.response.status for client in clients if client.response]
        # On a slow machine a second may pass meanwhile; the edge itself is in test_gate.py.
        assert statuses[0] == 101 and set(statuses) == {101, 503}
        assert limited(scene) == {"max_upgrades_per_second": statuses.count(503)}
        await nobody_else_notices(scene, clients[0])


async def asking(scene: Scene) -> RawClient:
    client = await scene.dial()
    await client.send(request("/t"))
    await client.read_response()
    return client


@pytest.fixture
def from_afar(monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients come from one address that is not this machine's."""
    monkeypatch.setattr(arrival, "address_of", lambda host: "192.0.2.1")


async def test_one_connection_more_than_an_address_may_have_gets_429(from_afar: None) -> None:
    async with serving(max_connections_per_address=2) as scene:
        stays, leaves = await scene.join(), await scene.join()
        response = await refused(scene, request("/t"))
        assert (response.status, response.headers["retry-after"]) == (429, "1")
        assert response.body.startswith("2 connections from 192.0.2.1 are open, which is max_connections_per_address")
        assert limited(scene) == {"max_connections_per_address": 1}
        leaves.close()
        await scene.wait_departures(left=1)
        await scene.join()
        await nobody_else_notices(scene, stays)


async def test_one_topic_more_than_an_address_may_make_gets_429_and_those_there_are_stay_open(from_afar: None) -> None:
    async with serving(max_new_topics_per_address=2) as scene:
        stays = await scene.join("/t")
        await scene.join("/b", "publisher")
        response = await refused(scene, request("/c"))
        assert response.status == 429 and 0 < int(response.headers["retry-after"]) <= 60
        assert "192.0.2.1 has made 2 topics within a minute, which is max_new_topics_per_address" in response.body
        assert limited(scene) == {"max_new_topics_per_address": 1}
        # The program may, and then others may come to it.
        scene.server.publish("/c", b"")
        await scene.join("/c")
        await nobody_else_notices(scene, stays)


# --- requests -------------------------------------------------------------------------------------------------------


async def test_limits_of_a_request_count_by_the_options_name() -> None:
    async with serving(max_head_bytes=1024, handshake_deadline=0.1, ping_interval=0.2, pong_deadline=5.0) as scene:
        assert (await refused(scene, request("/t", ("X", "x" * 1024)))).status == 431
        assert (await refused(scene, b"GET")).status == 408
        assert limited(scene) == {"max_head_bytes": 1, "handshake_deadline": 1}


# --- topics ---------------------------------------------------------------------------------------------------------


async def test_a_topic_of_exactly_max_topic_bytes_is_taken_and_one_byte_more_gets_414() -> None:
    async with serving(max_topic_bytes=16) as scene:
        subscriber = await scene.join("/" + "a" * 15)
        response = await refused(scene, request("/" + "a" * 16))
        assert response.status == 414 and "topic of 17 bytes is over max_topic_bytes=16" in response.body
        scene.server.publish("/" + "a" * 15, b"in")
        assert await subscriber.read_message() == b"in"
        with pytest.raises(MisuseError, match="topic of 17 bytes is over max_topic_bytes=16"):
            scene.server.publish("/" + "a" * 16, b"")
        # What counts is the name as requests write it.
        with pytest.raises(MisuseError, match="topic of 19 bytes"):
            scene.server.publish("/" + "\u00e4" * 3, b"")
        assert limited(scene) == {"max_topic_bytes": 1}


async def test_one_topic_more_than_max_topics_gets_503_and_overloaded() -> None:
    async with serving(max_topics=2) as scene:
        stays = await scene.join("/t")
        await scene.join("/b")
        response = await refused(scene, request("/c"))
        assert response.status == 503 and "max_topics" in response.body
        with pytest.raises(Overloaded, match="there are 2 topics already, which is max_topics"):
            scene.server.publish("/c", b"")
        with pytest.raises(Overloaded):
            scene.server.subscribe("/c")
        with pytest.raises(Overloaded):
            await scene.server.room("/c")
        await scene.join("/b")
        await nobody_else_notices(scene, stays)
        assert limited(scene) == {"max_topics": 1}


async def test_who_is_refused_for_something_else_takes_no_upgrade_away() -> None:
    async with serving(max_upgrades_per_second=2, max_topics=1) as scene:
        await scene.join("/t")
        for _ in range(5):
            assert "max_topics" in (await refused(scene, request("/other"))).body
        await scene.join("/t")


async def test_at_max_topics_those_that_linger_give_way() -> None:
    async with serving(max_topics=3) as scene:
        stays = await scene.join("/t")
        for name in ("/a", "/b"):
            (await scene.join(name)).close()
        await wait_until(lambda: scene.server.stats().subscribers == 1, "two that left")
        assert scene.server.stats().topics == 3
        await scene.join("/c")
        await nobody_else_notices(scene, stays)


# --- what a client sends --------------------------------------------------------------------------------------------


def fragments(count: int, kind: int = BINARY) -> bytes:
    """One message, of so many frames."""
    middle = frame(b"x", CONTINUATION, fin=False) * (count - 2)
    return frame(b"x", kind, fin=False) + middle + frame(b"x", CONTINUATION)


@WAYS
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_a_message_of_max_fragments_is_taken_and_of_one_more_closes_1008(lane: bool, bytewise: bool) -> None:
    async with serving(max_fragments=5, lane=lane) as scene:
        stays, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(fragments(5) + frame(b"one") + fragments(5, TEXT), bytewise=bytewise)
        assert await stays.read_messages(3) == [b"xxxxx", b"one", "xxxxx"]
        await publisher.send(fragments(6), bytewise=bytewise)
        code, reason = await publisher.read_close()
        assert (code, reason) == (POLICY, "message of more than max_fragments=5 frames")
        await nobody_else_notices(scene, stays)
        await scene.wait_departures(policy=1)
        assert limited(scene) == {"max_fragments": 1}


@WAYS
async def test_empty_frames_of_a_subscriber_count_each(lane: bool) -> None:
    async with serving(max_ignored_bytes=600, max_fragments=None, lane=lane) as scene:
        stays, talks = await scene.join(), await scene.join()
        await talks.send(frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 300)
        assert (await talks.read_close())[0] == POLICY
        await nobody_else_notices(scene, stays)
        assert limited(scene) == {"max_ignored_bytes": 1}


@WAYS
async def test_max_fragments_holds_after_our_close_too(lane: bool) -> None:
    async with serving(max_fragments=5, lane=lane) as scene:
        publisher = await scene.join(role="publisher")
        closing = asyncio.create_task(scene.server.close(drain=10.0))
        assert (await publisher.read_close())[0] == 1012
        await publisher.send(fragments(6))
        await publisher.read_end()
        await closing
        assert limited(scene) == {"max_fragments": 1}


@WAYS
async def test_by_default_a_message_may_have_131072_fragments(lane: bool) -> None:
    async with serving(lane=lane) as scene:
        stays, publisher = await scene.join(), await scene.join(role="publisher")
        middle = frame(b"", CONTINUATION, fin=False)
        await publisher.send(frame(b"a", fin=False) + middle * (131_072 - 2) + frame(b"z", CONTINUATION))
        assert await stays.read_message() == b"az"
        assert limited(scene) == {}


@WAYS
@pytest.mark.parametrize("opcode", [PING, PONG], ids=["ping", "pong"])
async def test_one_control_frame_more_in_a_second_than_max_control_frames_closes_1008(opcode: int, lane: bool) -> None:
    async with serving(max_control_frames=20, lane=lane) as scene:
        stays, talks = await scene.join(), await scene.join()
        await talks.send(frame(b"", opcode) * 20)
        if opcode == PING:
            assert {(await talks.read_frame()).opcode for _ in range(20)} == {PONG}
        await nobody_else_notices(scene, talks)
        await stays.read_message()
        # A second may have begun between the two; then so many more are allowed, and no more.
        await talks.send(frame(b"", opcode) * 21)
        code, reason = await skip_pongs(talks)
        assert (code, reason) == (POLICY, "over max_control_frames=20 pings and pongs in a second")
        await nobody_else_notices(scene, stays)
        await scene.wait_departures(policy=1)
        assert limited(scene) == {"max_control_frames": 1}


async def skip_pongs(client: RawClient) -> tuple[int, str]:
    while (got := await client.read_any_frame()).opcode in (PING, PONG):
        pass
    return int.from_bytes(got.payload[:2], "big"), got.payload[2:].decode()


@WAYS
async def test_control_frames_within_the_limit_go_on_for_ever(lane: bool) -> None:
    async with serving(max_control_frames=10, lane=lane) as scene:
        client = await scene.join()
        for _ in range(3):
            await client.send(frame(b"", PONG) * 10)
            await asyncio.sleep(1.3)  # what is tested is that a second makes room
        await nobody_else_notices(scene, client)
        assert limited(scene) == {}


@WAYS
async def test_a_subscriber_that_sends_more_than_max_ignored_bytes_in_a_second_closes_1008(lane: bool) -> None:
    async with serving(max_ignored_bytes=1000, lane=lane) as scene:
        stays, talks, publisher = await scene.join(), await scene.join(), await scene.join(role="publisher")
        await talks.send(frame(bytes(494)) + frame(bytes(494)))
        await wait_until(lambda: scene.server.stats().ignored_messages == 2, "two ignored messages")
        await talks.send(frame(b"") * 200)
        assert (await talks.read_close())[0] == POLICY
        # Publishers may, and duplex clients.
        duplex = await scene.join("/d", "duplex")
        await publisher.send(frame(bytes(5000)))
        await duplex.send(frame(bytes(5000)))
        assert await stays.read_message() == await duplex.read_message() == bytes(5000)
        await scene.wait_departures(policy=1)
        assert limited(scene) == {"max_ignored_bytes": 1}


@WAYS
async def test_without_these_limits_nobody_is_closed_for_them(lane: bool) -> None:
    off = {"max_fragments": None, "max_control_frames": None, "max_ignored_bytes": None}
    async with serving(lane=lane, **off) as scene:
        publisher, subscriber = await scene.join(role="publisher"), await scene.join()
        await publisher.send(fragments(1000) + frame(b"", PONG) * 11_000)
        await subscriber.send(frame(bytes(2_000_000)))
        assert await subscriber.read_message() == b"x" * 1000
        await wait_until(lambda: scene.server.stats().ignored_messages == 1, "the ignored message")
        for client in (publisher, subscriber):
            await client.send(close_frame())
            assert await client.read_close() == (1000, "")


@WAYS
async def test_a_message_that_is_too_large_counts_by_the_options_name(lane: bool) -> None:
    async with serving(max_message_bytes=10, lane=lane) as scene:
        publisher = await scene.join(role="publisher")
        await publisher.send(frame(bytes(11)))
        assert (await publisher.read_close())[0] == 1009
        assert limited(scene) == {"max_message_bytes": 1}


@WAYS
async def test_what_piled_up_while_the_server_stood_still_is_held_against_nobody(lane: bool) -> None:
    # No pings of its own: they would come between the pongs.
    with server_process(max_control_frames=5, max_ignored_bytes=100, lane=lane, ping_interval=1e9) as server:
        client = await RawClient.dial(server.port)
        try:
            await client.upgrade(request("/t"))
            stop_process(server.pid)
            try:
                await client.send((frame(b"", PING) + frame(b"unwanted")) * 30)
                await asyncio.sleep(2.3)  # what is tested is that more than a second passes, for Python two
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert [(await client.read_any_frame()).opcode for _ in range(30)] == [PONG] * 30
            # A second later it is judged again.
            await asyncio.sleep(2.3)
            await client.send(frame(b"", PING) * 11)
            assert (await skip_pongs(client))[0] == POLICY
            assert server.stats()["limited"] == {"max_control_frames": 1}
        finally:
            client.close()

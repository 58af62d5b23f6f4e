"""Limits of a mount: those on clients and topics are a hub's too, with the address that the web server tells."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from pubsub import Hub, Options
from tests.support.rawclient import PATIENCE

URL = "/a?pubsub=subscriber"


@contextmanager
def mounted(*, address: str = "192.0.2.1", **options: Any) -> Iterator[tuple[Hub, TestClient]]:
    """A hub that is a whole application, and a client of it from that address."""
    hub = Hub(Options(**options))
    try:
        with TestClient(hub, client=(address, 50000)) as client:
            yield hub, client
    finally:
        asyncio.run(hub.close())


def status(client: TestClient, url: str = URL) -> int:
    try:
        with client.websocket_connect(url):
            return 101
    except WebSocketDenialResponse as refusal:
        return refusal.status_code


def until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_one_client_more_than_max_connections_gets_503_until_another_leaves() -> None:
    with mounted(max_connections=2) as (hub, client):
        with client.websocket_connect(URL), client.websocket_connect(URL):
            assert status(client) == 503
            assert (hub.stats().connections, hub.stats().limited) == (2, {"max_connections": 1})
        until(lambda: hub.stats().connections == 0)
        assert status(client) == 101


@pytest.mark.parametrize(("address", "expected"), [("192.0.2.1", 429), ("127.0.0.1", 101)])
def test_a_number_for_each_address_holds_for_all_but_this_machine(address: str, expected: int) -> None:
    with mounted(address=address, max_connections_per_address=1) as (hub, client), client.websocket_connect(URL):
        assert status(client) == expected
        assert hub.stats().limited == ({"max_connections_per_address": 1} if expected == 429 else {})


def test_upgrades_and_new_topics_have_their_limits() -> None:
    with mounted(max_upgrades_per_second=2) as (hub, client):
        assert 503 in [status(client) for _ in range(50)]
    with mounted(max_new_topics_per_address=1) as (hub, client):
        with client.websocket_connect(URL):
            assert status(client, "/b?pubsub=subscriber") == 429
            assert status(client) == 101
    with mounted(max_topics=1, max_topic_bytes=2) as (hub, client), client.websocket_connect(URL):
        assert status(client, "/b?pubsub=subscriber") == 503
        assert status(client, "/bc?pubsub=subscriber") == 414
        assert hub.stats().limited == {"max_topics": 1, "max_topic_bytes": 1}


def test_a_subscriber_that_sends_too_much_is_closed_with_1008() -> None:
    with mounted(max_ignored_bytes=100) as (hub, client), ExitStack() as stack:
        talks = stack.enter_context(client.websocket_connect(URL))
        talks.send_bytes(bytes(94))
        talks.send_bytes(b"")
        with pytest.raises(WebSocketDisconnect) as caught:
            talks.receive_bytes()
        assert caught.value.code == 1008 and "max_ignored_bytes=100" in caught.value.reason
        until(lambda: hub.stats().departures == {"policy": 1})
        assert hub.stats().limited == {"max_ignored_bytes": 1}

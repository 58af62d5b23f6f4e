"""The subscribing client: messages in order, a bounded buffer, and how an iteration ends."""

import asyncio
from typing import Any

import pytest

from pubsub import ClosedBy, ConnectionClosed, MisuseError, Subscriber, UnhandledMessageType
from pubsub.connection import Closed, Pong
from tests.support.peers import SOON, Peer, scripted_server, until_stuck, websockets_server


async def close_normally(peer: Peer, data: bytes = b"") -> None:
    """Sends `data` and a Close 1000, and waits for the answer."""
    await peer.send(data + peer.connection.close())
    await peer.receive_closed()


# --- receiving ---


async def test_messages_arrive_in_order() -> None:
    async def publish(peer: Any) -> None:
        for data in (b"one", b"", b"x" * 300_000, b"last"):
            await peer.send(data)

    async with websockets_server(publish) as url, Subscriber(url) as subscriber:
        assert [message async for message in subscriber] == [b"one", b"", b"x" * 300_000, b"last"]


async def test_with_text_both_kinds_come_as_what_they_are() -> None:
    async def publish(peer: Any) -> None:
        for data in (b"one", "two é", "", ["in ", "", "pieces €"], [b"and ", b"bytes"]):
            await peer.send(data)

    async with websockets_server(publish) as url, Subscriber(url, text=True) as subscriber:
        assert [message async for message in subscriber] == [b"one", "two é", "", "in pieces €", b"and bytes"]


async def test_what_came_with_the_101_is_not_lost() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(then=peer.connection.message(b"first") + peer.connection.message(b"second")[:3])
        await close_normally(peer, b"econd")

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        assert [message async for message in subscriber] == [b"first", b"second"]


async def test_a_text_message_ends_a_subscriber_that_takes_only_binary_after_what_came_before() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        assert dict(peer.request.headers)[b"pubsub"] == b"subscriber"
        connection = peer.connection
        await peer.send(connection.message(b"fine") + connection.message("text") + connection.message(b"after"))
        assert await peer.receive_closed() == Closed(1003, "only binary messages are taken", error=False)
        await peer.send(connection.close(1003))

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        assert await anext(subscriber) == b"fine"
        with pytest.raises(UnhandledMessageType, match="'text' came"):
            await anext(subscriber)
        await subscriber.wait_closed()
        assert isinstance(subscriber.error, UnhandledMessageType)


async def test_messages_can_be_taken_many_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(then=b"".join(peer.connection.message(b"%d" % number) for number in range(3)))
        await close_normally(peer)

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        assert await subscriber.take_messages() == [b"0", b"1", b"2"]
        assert await subscriber.take_messages() == []
        assert await subscriber.take_messages() == []


async def test_several_tasks_may_share_the_messages() -> None:
    total = 100

    async def publish(peer: Any) -> None:
        for number in range(total):
            await peer.send(bytes([number]))

    async with websockets_server(publish) as url, Subscriber(url) as subscriber:

        async def iterate() -> list[bytes]:
            return [message async for message in subscriber]

        shares = await asyncio.gather(*(iterate() for _ in range(3)))
    assert sorted(message[0] for share in shares for message in share) == list(range(total))


async def test_waiting_for_a_message_can_be_cancelled_without_losing_one() -> None:
    publish_now = asyncio.Event()

    async def publish(peer: Any) -> None:
        await publish_now.wait()
        await peer.send(b"kept")

    async with websockets_server(publish) as url, Subscriber(url) as subscriber:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await anext(subscriber)
        publish_now.set()
        assert [message async for message in subscriber] == [b"kept"]


# --- a bounded buffer ---


async def test_a_subscriber_that_is_not_iterated_stops_reading_and_loses_nothing() -> None:
    total, size = 300, 50_000
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        for number in range(total):
            await peer.send(peer.connection.message(number.to_bytes(2, "big") + bytes(size)))
            sent += 1
        await close_normally(peer)

    async with scripted_server(script) as url, Subscriber(url, buffer_bytes=200_000) as subscriber:
        await until_stuck(lambda: sent)
        # Kernel buffers and 200 kB of ours, not 15 MB.
        assert 0 < sent < total * 3 / 4
        received = [int.from_bytes(message[:2], "big") async for message in subscriber]
    assert received == list(range(total))


async def test_small_messages_fill_the_buffer_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(then=peer.connection.message(b"") * 10_000)
        await close_normally(peer)

    async with scripted_server(script) as url, Subscriber(url, buffer_bytes=1000) as subscriber:
        assert len([message async for message in subscriber]) == 10_000


async def test_a_message_larger_than_the_buffer_is_taken_whole() -> None:
    async def publish(peer: Any) -> None:
        await peer.send(b"x" * 500_000)
        await peer.send(b"next")

    async with websockets_server(publish) as url, Subscriber(url, buffer_bytes=1) as subscriber:
        assert [len(message) async for message in subscriber] == [500_000, 4]


async def test_pings_are_answered_while_the_program_does_not_iterate() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for number in range(3):
            payload = b"%d" % number
            await peer.send(peer.connection.message(b"x" * 1000) + peer.connection.ping(payload))
            assert await peer.receive() == Pong(payload)
        await close_normally(peer)

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        await subscriber.wait_closed()
        assert len([message async for message in subscriber]) == 3


async def test_close_ends_a_subscriber_whose_buffer_is_full() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        sending = asyncio.create_task(flood(peer))
        await peer.receive_closed()
        sending.cancel()
        await asyncio.wait([sending])
        await peer.send(peer.connection.close())

    async with scripted_server(script) as url, Subscriber(url, buffer_bytes=1000) as subscriber:
        await anext(subscriber)
        await subscriber.close()
        assert subscriber.error is None


async def flood(peer: Peer) -> None:
    while True:
        await peer.send(peer.connection.message(bytes(100_000)))


# --- how an iteration ends ---


async def test_it_ends_when_the_server_is_done() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await close_normally(peer, peer.connection.message(b"all there is"))

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        assert [message async for message in subscriber] == [b"all there is"]
        assert isinstance(subscriber.error, ConnectionClosed)
        assert (subscriber.error.code, subscriber.error.by) == (1000, ClosedBy.PEER)


@pytest.mark.parametrize(("code", "come_back"), [(1001, True), (1005, False), (1008, False), (1013, True)])
async def test_it_raises_why_the_server_closed_after_what_came_before(code: int, come_back: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(peer.connection.message(b"before") + peer.connection.close(code, "because"))
        await peer.receive_closed()

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        assert await anext(subscriber) == b"before"
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as caught:
                await anext(subscriber)
            assert (caught.value.code, caught.value.come_back) == (code, come_back)


async def test_it_raises_when_the_connection_is_lost_in_the_middle_of_a_message() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(peer.connection.message(b"whole") + peer.connection.message(b"half of it")[:6])
        await peer.hang_up()

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        assert await anext(subscriber) == b"whole"
        with pytest.raises(ConnectionClosed) as caught:
            await anext(subscriber)
        assert (caught.value.code, caught.value.by) == (1006, ClosedBy.NETWORK)


async def test_it_ends_when_another_task_closes() -> None:
    async with websockets_server(lambda peer: peer.wait_closed()) as url, Subscriber(url) as subscriber:

        async def iterate() -> list[bytes]:
            return [message async for message in subscriber]

        iterating = asyncio.create_task(iterate())
        await asyncio.sleep(0)
        await subscriber.close()
        assert await iterating == []
        assert subscriber.error is None


async def test_messages_that_come_after_close_are_dropped() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        on_their_way = peer.connection.message(b"late") + peer.connection.message("text")
        await peer.receive_closed()
        await peer.send(on_their_way + peer.connection.close())

    async with scripted_server(script) as url, Subscriber(url) as subscriber:
        await subscriber.close()
        assert [message async for message in subscriber] == []
        assert subscriber.error is None


async def test_one_that_is_not_open_cannot_be_iterated() -> None:
    with pytest.raises(MisuseError, match="not open"):
        await anext(Subscriber("ws://a.example/"))


@pytest.mark.parametrize("buffer_bytes", [0, -1, 1.5, True, "1MiB"])
def test_a_buffer_of_no_size_is_the_caller_s_mistake(buffer_bytes: Any) -> None:
    with pytest.raises(MisuseError, match="buffer_bytes="):
        Subscriber("ws://a.example/", buffer_bytes=buffer_bytes)

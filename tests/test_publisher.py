"""The publishing client: what is sent, in which order, how it is held back, and what flush means."""

import array
import asyncio
from typing import Any

import pytest

from pubsub import ConnectionClosed, MisuseError, NoPong, Publisher
from pubsub.connection import Piece, Ping
from pubsub.dialing import Streams, connect_streams
from tests.support.peers import (
    SOON,
    Peer,
    Received,
    client_tls,
    gather,
    scripted_server,
    until_stuck,
    websockets_server,
)

# --- publishing ---


async def test_messages_arrive_in_order_with_their_types() -> None:
    received: list[Received] = []
    buffers: list[Any] = [bytearray(b"three"), memoryview(b"four"), array.array("B", b"five")]
    sent = [b"one", "two é", b"", "", *buffers, b"x" * 300_000]
    async with websockets_server(lambda peer: gather(peer, received)) as url, Publisher(url) as publisher:
        for data in sent:
            await publisher.publish(data)
    assert received == [[b"one", "two é", b"", "", b"three", b"four", b"five", b"x" * 300_000]]
    assert publisher.error is None


async def test_data_may_be_reused_once_published() -> None:
    received: list[Received] = []
    async with websockets_server(lambda peer: gather(peer, received)) as url, Publisher(url) as publisher:
        buffer = bytearray(b"a")
        for letter in b"abc":
            buffer[0] = letter
            await publisher.publish(buffer)
    assert received == [[b"a", b"b", b"c"]]


async def test_several_tasks_publish_each_in_its_order() -> None:
    received: list[Received] = []

    async def publish(publisher: Publisher, number: int) -> None:
        for count in range(50):
            await publisher.publish(bytes([number, count]) * 1000)

    async with websockets_server(lambda peer: gather(peer, received)) as url, Publisher(url) as publisher:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(publish(publisher, number))
    for number in range(4):
        own = [message[1] for message in received[0] if message[0] == number]
        assert own == list(range(50))


async def test_a_burst_of_small_messages_goes_out_in_few_writes() -> None:
    writes: list[int] = []

    async def connect(*where: Any) -> Streams:
        reader, writer = await connect_streams(*where)
        write = writer.write

        def counted(data: bytes) -> None:
            writes.append(len(data))
            write(data)

        writer.write = counted  # type: ignore[method-assign, assignment]
        return reader, writer

    received: list[Received] = []
    async with (
        websockets_server(lambda peer: gather(peer, received)) as url,
        Publisher(url, connect=connect) as publisher,
    ):
        for count in range(1000):
            await publisher.publish(b"%d" % count)
    assert received == [[b"%d" % count for count in range(1000)]]
    # The request, all messages and the Close.
    assert len(writes) <= 3


async def test_publish_waits_for_a_server_that_does_not_read_and_loses_nothing() -> None:
    read_on = asyncio.Event()
    received: list[int] = []
    total = 200

    async def reads_late(peer: Peer) -> None:
        await peer.accept()
        await read_on.wait()
        while isinstance(happening := await peer.receive(), Piece):
            if happening.last:
                received.append(len(received))
        await peer.send(peer.connection.close())

    async with scripted_server(reads_late, receive_buffer=65536) as url, Publisher(url) as publisher:
        published = 0

        async def publish_all() -> None:
            nonlocal published
            for _ in range(total):
                await publisher.publish(bytes(100_000))
                published += 1

        task = asyncio.create_task(publish_all())
        await until_stuck(lambda: published)
        # Kernel buffers, the transport's 64 KiB and our 256 KiB, not 20 MB.
        assert 0 < published < total * 3 / 4
        read_on.set()
        await task
    assert received == list(range(total))


async def test_a_publish_that_is_cancelled_has_sent_nothing() -> None:
    read_on = asyncio.Event()
    received: list[bytes | str] = []

    async def reads_late(peer: Peer) -> None:
        await peer.accept()
        await read_on.wait()
        while isinstance(happening := await peer.receive(), Piece):
            received.append(happening.data[:4])
        await peer.send(peer.connection.close())

    async with scripted_server(reads_late, receive_buffer=65536) as url, Publisher(url) as publisher:
        with pytest.raises(TimeoutError):
            await publish_until_held_back(publisher)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await publisher.publish(b"no")
        read_on.set()
        await publisher.publish(b"end")
    assert received[-1] == b"end"
    assert b"no" not in received


async def publish_until_held_back(publisher: Publisher) -> None:
    while True:
        async with asyncio.timeout(SOON):
            await publisher.publish(b"yes " + bytes(100_000))


# --- flushing ---


async def test_flush_returns_when_the_server_has_answered() -> None:
    ping_came, answer = asyncio.Event(), asyncio.Event()

    async def answers_late(peer: Peer) -> None:
        await peer.accept()
        assert await peer.receive() == Piece(b"message", last=True)
        ping = await peer.receive()
        assert isinstance(ping, Ping)
        ping_came.set()
        await answer.wait()
        await peer.send(peer.connection.pong(b"some other ping's") + peer.connection.pong(ping.payload))
        await peer.receive_closed()
        await peer.send(peer.connection.close())

    async with scripted_server(answers_late) as url, Publisher(url) as publisher:
        await publisher.publish(b"message")
        flush = asyncio.create_task(publisher.flush())
        await ping_came.wait()
        assert not flush.done()
        answer.set()
        await flush


async def test_the_pong_to_a_later_ping_stands_for_the_earlier_ones() -> None:
    async def answers_the_third(peer: Peer) -> None:
        await peer.accept()
        pings = [await peer.receive() for _ in range(4)]
        await peer.send(peer.connection.pong(pings[2].payload))  # type: ignore[union-attr]
        await peer.receive_closed()
        await peer.send(peer.connection.pong(pings[3].payload) + peer.connection.close())  # type: ignore[union-attr]

    async with scripted_server(answers_the_third) as url, Publisher(url) as publisher:
        flushes = [asyncio.create_task(publisher.flush()) for _ in range(4)]
        await asyncio.wait(flushes, return_when=asyncio.FIRST_COMPLETED)
        assert [flush.done() for flush in flushes] == [True, True, True, False]
        await publisher.close()
        with pytest.raises(ConnectionClosed):
            await flushes[3]


async def test_flush_gives_up_on_a_server_that_takes_nothing_and_may_be_called_again() -> None:
    answer = asyncio.Event()

    async def answers_when_told(peer: Peer) -> None:
        await peer.accept()
        await answer.wait()
        while isinstance(ping := await peer.receive(), Ping):
            await peer.send(peer.connection.pong(ping.payload))
        await peer.send(peer.connection.close())

    async with scripted_server(answers_when_told) as url, Publisher(url, pong_deadline=SOON) as publisher:
        with pytest.raises(NoPong, match=r"pong_deadline=0\.05 s"):
            await publisher.flush()
        answer.set()
        await publisher.flush()


async def test_flush_is_patient_while_the_server_takes_bytes() -> None:
    async def reads_slowly(peer: Peer) -> None:
        await peer.accept()
        happening: object = None
        while not isinstance(happening, Ping):
            # As slow as a server that paces this publisher: one turn is well within the deadline, all are not.
            await asyncio.sleep(SOON / 2)
            for _ in range(4):
                happening = await peer.receive()
                if isinstance(happening, Ping):
                    break
        await peer.send(peer.connection.pong(happening.payload))
        await peer.receive_closed()
        await peer.send(peer.connection.close())

    async with (
        scripted_server(reads_slowly, receive_buffer=65536) as url,
        Publisher(url, pong_deadline=5 * SOON) as publisher,
    ):
        started = asyncio.get_running_loop().time()
        for _ in range(40):
            await publisher.publish(bytes(200_000))
        await publisher.flush()
        assert asyncio.get_running_loop().time() - started > 5 * SOON


async def test_flush_that_is_cancelled_leaves_the_connection_as_it_is() -> None:
    received: list[Received] = []
    async with websockets_server(lambda peer: gather(peer, received)) as url, Publisher(url) as publisher:
        flush = asyncio.create_task(publisher.flush())
        await asyncio.sleep(0)
        flush.cancel()
        await asyncio.wait([flush])
        await publisher.publish(b"after")
        await publisher.flush()
    assert received == [[b"after"]]


# --- misuse ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "a b"}, "client name 'a b'"),
        ({"name": "x" * 65}, "65 characters"),
        ({"headers": {"pubsub": "subscriber"}}, "header pubsub"),
        ({"headers": {"Host": "x"}}, "belongs to the handshake"),
        ({"open_timeout": 0}, "open_timeout=0 is below"),
        ({"close_deadline": float("nan")}, "close_deadline=nan"),
        ({"pong_deadline": "soon"}, "pong_deadline='soon'"),
        ({"url": "http://a.example/"}, "give ws://a.example/"),
        ({"ssl": client_tls()}, "use wss://"),
    ],
)
def test_bad_arguments_are_the_caller_s_mistake(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        Publisher(**({"url": "ws://a.example/"} | arguments))


async def test_what_cannot_be_sent_is_the_caller_s_mistake_and_the_connection_goes_on() -> None:
    received: list[Received] = []
    async with websockets_server(lambda peer: gather(peer, received)) as url, Publisher(url) as publisher:
        for data in (7, None, "\ud800"):
            with pytest.raises(MisuseError):
                await publisher.publish(data)  # type: ignore[arg-type]
        await publisher.publish(b"fine")
    assert received == [[b"fine"]]

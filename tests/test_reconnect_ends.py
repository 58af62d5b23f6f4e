"""How a client that is away ends: close, cancellation, the end of its loop; and callbacks that fail."""

import asyncio
import contextlib
from typing import Any

import pytest

from pubsub import ClosedBy, ConnectionClosed, MisuseError, Publisher, Reconnect
from pubsub.connection import Piece
from pubsub.dialing import Streams, connect_streams
from tests.support.comingback import AT_ONCE, Line, Told, in_turn, reset, stay
from tests.support.peers import SOON, Peer, scripted_server
from tests.support.server import wait_until

LONG = Reconnect(first_delay=3600.0, max_delay=3600.0)


@pytest.fixture
def told() -> Told:
    return Told()


async def test_close_ends_the_wait(told: Told) -> None:
    async with scripted_server(reset) as url, Publisher(url, **told.arguments(LONG)) as publisher:
        await told.wait_away()
        waiting = [asyncio.create_task(call) for call in (publisher.publish(b"x"), publisher.flush())]
        await asyncio.wait(waiting, timeout=SOON)
        assert not any(task.done() for task in waiting)
        await publisher.close()
        assert isinstance(publisher.error, ConnectionClosed)
        assert (publisher.error.code, publisher.error.by) == (1006, ClosedBy.US)
        assert publisher.error.__cause__ is told.losses[0]
        for task in waiting:
            with pytest.raises(ConnectionClosed, match="while it was away"):
                await task
        await publisher.close()
        await publisher.wait_closed()
    assert told.gaps == []


async def test_close_ends_an_attempt(told: Told) -> None:
    asked = asyncio.Event()

    async def answers_nothing(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        asked.set()
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()

    async with scripted_server(in_turn(reset, answers_nothing)) as url:
        publisher = await Publisher(url, **told.arguments()).open()
        await asked.wait()
        await publisher.close()
        assert isinstance(publisher.error, ConnectionClosed)


async def test_close_ends_a_line_that_is_being_connected(told: Told) -> None:
    connecting = asyncio.Event()

    async def connect(*where: Any) -> Streams:
        if told.losses:
            connecting.set()
            await asyncio.Event().wait()
        return await connect_streams(*where)

    async with scripted_server(reset) as url:
        publisher = await Publisher(url, connect=connect, **told.arguments()).open()
        await connecting.wait()
        await publisher.close()
        assert isinstance(publisher.error, ConnectionClosed)


async def test_close_ends_a_connection_factory_that_does_not_listen(told: Told) -> None:
    connecting = asyncio.Event()

    async def connect(*where: Any) -> Streams:
        if told.losses:
            connecting.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return await connect_streams(*where)

    async with scripted_server(in_turn(reset, Peer.accept)) as url:
        publisher = await Publisher(url, connect=connect, **told.arguments()).open()
        await connecting.wait()
        await publisher.close()
        assert isinstance(publisher.error, ConnectionClosed)
    assert told.gaps == []


async def publish_until_held_back(publisher: Publisher) -> None:
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(SOON):
                await publisher.publish(bytes(100_000))


async def test_close_lets_a_connection_that_ends_take_what_was_published_and_does_not_wait_for_another(
    told: Told,
) -> None:
    close_now, read_on = asyncio.Event(), asyncio.Event()
    received = 0

    async def reads_late(peer: Peer) -> None:
        nonlocal received
        await peer.accept()
        await close_now.wait()
        await peer.send(peer.connection.close(1012))
        await read_on.wait()
        while isinstance(happening := await peer.receive(), Piece):
            received += happening.last

    async with scripted_server(reads_late, receive_buffer=65536) as url:
        publisher = await Publisher(url, **told.arguments(LONG)).open()
        await publish_until_held_back(publisher)
        close_now.set()
        await told.wait_away()
        unconfirmed = publisher.unconfirmed
        closing = asyncio.create_task(publisher.close())
        await asyncio.wait([closing], timeout=SOON)
        assert not closing.done()
        read_on.set()
        await closing
        assert isinstance(publisher.error, ConnectionClosed)
    assert 0 < received == unconfirmed


async def test_a_close_that_is_cancelled_cuts_a_connection_that_ends(told: Told) -> None:
    close_now, leave = asyncio.Event(), asyncio.Event()

    async def reads_nothing(peer: Peer) -> None:
        await peer.accept()
        await close_now.wait()
        await peer.send(peer.connection.close(1012))
        await leave.wait()

    async with scripted_server(reads_nothing, receive_buffer=65536) as url:
        publisher = await Publisher(url, **told.arguments(LONG)).open()
        await publish_until_held_back(publisher)
        close_now.set()
        await told.wait_away()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await publisher.close()
        await publisher.wait_closed()
        assert isinstance(publisher.error, ConnectionClosed)
        leave.set()


async def test_whoever_waits_can_be_cancelled_and_the_client_comes_back(told: Told) -> None:
    line = Line()
    received: list[object] = []

    async def collects(peer: Peer) -> None:
        await peer.accept()
        while isinstance(happening := await peer.receive(), Piece):
            received.append(happening.data)
        await peer.send(peer.connection.close())

    async with scripted_server(in_turn(reset, collects)) as url:
        async with Publisher(url, connect=line.connect, **told.arguments()) as publisher:
            line.hold()
            await told.wait_away()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON):
                    await publisher.publish(b"no")
            line.free()
            await publisher.publish(b"yes")
    assert received == [b"yes"]


async def test_the_end_of_the_loop_ends_a_client_that_is_away(loop_errors: list[str], told: Told) -> None:
    async with scripted_server(reset) as url:

        async def forget_to_close() -> Publisher:
            publisher = await Publisher(url, **told.arguments(LONG)).open()
            await told.wait_away()
            await asyncio.sleep(0)
            return publisher

        publisher = await asyncio.to_thread(lambda: asyncio.run(forget_to_close()))
    assert isinstance(publisher.error, ConnectionClosed)
    assert publisher.error.code == 1006
    assert all("leaked task" in line for line in loop_errors)
    loop_errors.clear()


async def test_a_connection_factory_that_is_broken_ends_it(told: Told) -> None:
    async def connect(*where: Any) -> Streams:
        if told.losses:
            raise ValueError("no such tunnel")
        return await connect_streams(*where)

    async with scripted_server(reset) as url, Publisher(url, connect=connect, **told.arguments()) as publisher:
        await publisher.wait_closed()
        assert isinstance(publisher.error, MisuseError)
        assert isinstance(publisher.error.__cause__, ValueError)
        assert "no such tunnel" in str(publisher.error)


async def test_what_a_callback_raises_goes_to_the_loop_and_the_client_lives_on(loop_errors: list[str]) -> None:
    def fail(value: object) -> None:
        raise RuntimeError("of the program")

    async with (
        scripted_server(in_turn(reset, stay)) as url,
        Publisher(url, reconnect=AT_ONCE, on_gap=fail, on_away=fail) as publisher,
    ):
        await wait_until(lambda: len(loop_errors) == 2, "two errors")
        assert publisher.error is None
    assert all("a callback of the publisher" in line for line in loop_errors)
    loop_errors.clear()

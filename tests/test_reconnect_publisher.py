"""What a Publisher that came back is told: how many of its messages may be lost; and what flush says of it."""

import asyncio
import logging

import pytest

from pubsub import ClosedBy, ConnectFailed, ConnectionClosed, Gap, Publisher, Reconnect
from pubsub.connection import Piece, Ping
from tests.support.comingback import AT_ONCE, Line, in_turn, stay
from tests.support.peers import SOON, Peer, scripted_server
from tests.support.server import Scene, serving, wait_until

LONG = Reconnect(first_delay=3600.0, max_delay=3600.0)


def publisher_of(url: str, line: Line, gaps: list[Gap], reconnect: Reconnect = AT_ONCE) -> Publisher:
    return Publisher(url, connect=line.connect, reconnect=reconnect, on_gap=gaps.append)


async def leave(line: Line) -> None:
    """The connection is cut, and the publisher has noticed."""
    line.hold()
    tries = line.attempts
    line.cut()
    await wait_until(lambda: line.attempts > tries, "an attempt to come back")


def topic(scene: Scene) -> str:
    return scene.server.url + "/t"


# --- how many may be lost ---


@pytest.mark.parametrize(("flushed", "more"), [(0, 0), (0, 3), (2, 0), (2, 3)])
async def test_what_was_published_since_the_last_flush_is_unconfirmed(flushed: int, more: int) -> None:
    line, gaps = Line(), list[Gap]()
    async with serving() as scene, publisher_of(topic(scene), line, gaps) as publisher:
        for _ in range(flushed):
            await publisher.publish(b"flushed")
        await publisher.flush()
        for _ in range(more):
            await publisher.publish(b"more")
        assert publisher.unconfirmed == more
        await leave(line)
        assert publisher.unconfirmed == more
        line.free()
        await wait_until(lambda: gaps, "a gap")
        assert [gap.unconfirmed for gap in gaps] == [more]
        assert isinstance(gaps[0].error, ConnectionClosed)
        assert publisher.unconfirmed == 0
    assert publisher.error is None


async def test_nothing_is_sent_again() -> None:
    received: list[object] = []

    async def takes_one(peer: Peer) -> None:
        await peer.accept()
        received.append(await peer.receive())
        await peer.hang_up()

    async def takes_all(peer: Peer) -> None:
        await peer.accept()
        while isinstance(happening := await peer.receive(), Piece):
            received.append(happening)
        await peer.send(peer.connection.close())

    line, gaps = Line(), list[Gap]()
    async with (
        scripted_server(in_turn(takes_one, takes_all)) as url,
        publisher_of(url, line, gaps) as publisher,
    ):
        await publisher.publish(b"one")
        await publisher.publish(b"two")
        await wait_until(lambda: gaps, "a gap")
        await publisher.publish(b"three")
    assert received == [Piece(b"one", last=True), Piece(b"three", last=True)]
    assert gaps[0].unconfirmed == 2


async def test_a_pong_in_the_same_chunk_as_the_close_still_counts() -> None:
    async def answers_and_closes(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(happening := await peer.receive(), Ping):
            pass
        await peer.send(peer.connection.pong(happening.payload) + peer.connection.close(1012))
        await peer.receive_closed()

    async with (
        scripted_server(answers_and_closes) as url,
        Publisher(url, reconnect=LONG) as publisher,
    ):
        await publisher.publish(b"x")
        await publisher.flush()
        assert publisher.unconfirmed == 0


async def test_a_close_that_the_server_answers_confirms_everything() -> None:
    line, gaps = Line(), list[Gap]()
    async with serving() as scene, publisher_of(topic(scene), line, gaps) as publisher:
        await publisher.publish(b"x")
        assert publisher.unconfirmed == 1
        await publisher.close()
        assert publisher.unconfirmed == 0


async def test_without_on_gap_a_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    async with (
        serving() as scene,
        Publisher(topic(scene), connect=line.connect, reconnect=AT_ONCE) as publisher,
    ):
        await publisher.publish(b"x")
        line.cut()
        await wait_until(lambda: caplog.records, "a line")
    assert caplog.records[0].levelno == logging.WARNING
    assert "1 message unconfirmed" in caplog.records[0].getMessage()


async def test_one_that_was_never_open_has_nothing_unconfirmed() -> None:
    assert Publisher("ws://a.example/").unconfirmed == 0


# --- publishing ---


async def test_publish_waits_while_it_is_away_and_goes_on_after_the_gap_was_told() -> None:
    line, order = Line(), list[object]()
    async with (
        serving() as scene,
        Publisher(topic(scene), connect=line.connect, reconnect=AT_ONCE, on_gap=order.append) as publisher,
        scene.server.subscribe("/t") as reader,
    ):
        await publisher.publish(b"before")
        assert await anext(reader) == b"before"
        await leave(line)

        async def publish(data: bytes) -> None:
            await publisher.publish(data)
            order.append(data)

        tasks = [asyncio.create_task(publish(b"%d" % number)) for number in range(3)]
        await asyncio.wait(tasks, timeout=SOON)
        assert order == []
        line.free()
        await asyncio.gather(*tasks)
        assert isinstance(order[0], Gap)
        assert order[1:] == [b"0", b"1", b"2"]
        assert [await anext(reader) for _ in range(3)] == [b"0", b"1", b"2"]


async def test_one_that_waits_for_room_when_the_connection_is_lost_goes_on_over_the_next() -> None:
    received: list[int] = []

    async def reads_nothing(peer: Peer) -> None:
        await peer.accept()
        await lose.wait()

    async def takes_all(peer: Peer) -> None:
        await peer.accept()
        while isinstance(happening := await peer.receive(), Piece):
            received.append(happening.last)
        await peer.send(peer.connection.close())

    lose = asyncio.Event()
    line, gaps, published = Line(), list[Gap](), 0
    async with (
        scripted_server(in_turn(reads_nothing, takes_all), receive_buffer=65536) as url,
        publisher_of(url, line, gaps) as publisher,
    ):

        async def publish_all() -> None:
            nonlocal published
            for _ in range(100):
                await publisher.publish(bytes(100_000))
                published += 1

        task = asyncio.create_task(publish_all())
        await asyncio.wait([task], timeout=4 * SOON)
        assert not task.done()
        before = published
        lose.set()
        await task
    assert gaps[0].unconfirmed == before
    assert sum(received) == 100 - before


# --- flushing ---


async def test_a_flush_under_way_tells_of_the_loss_and_the_next_one_is_of_the_next_connection() -> None:
    flushing = asyncio.Event()

    async def never_answers(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(await peer.receive(), Ping):
            pass
        flushing.set()
        await lose.wait()

    async def answers(peer: Peer) -> None:
        await peer.accept()
        while isinstance(happening := await peer.receive(), Piece | Ping):
            if isinstance(happening, Ping):
                await peer.send(peer.connection.pong(happening.payload))
        await peer.send(peer.connection.close())

    lose = asyncio.Event()
    line, gaps = Line(), list[Gap]()
    async with (
        scripted_server(in_turn(never_answers, answers)) as url,
        publisher_of(url, line, gaps) as publisher,
    ):
        await publisher.publish(b"x")
        flushes = [asyncio.create_task(publisher.flush()) for _ in range(2)]
        await flushing.wait()
        lose.set()
        for flush in flushes:
            with pytest.raises(ConnectionClosed) as caught:
                await flush
            assert (caught.value.code, caught.value.by) == (1006, ClosedBy.NETWORK)
        assert publisher.error is None
        await publisher.publish(b"y")
        await publisher.flush()
        assert gaps[0].error is caught.value
        assert gaps[0].unconfirmed == 1


async def test_the_first_flush_after_a_loss_tells_of_it_whether_it_is_back_or_not() -> None:
    line, gaps = Line(), list[Gap]()
    async with serving() as scene, publisher_of(topic(scene), line, gaps) as publisher:
        for come_back_first in (True, False):
            await publisher.publish(b"x")
            await leave(line)
            if come_back_first:
                line.free()
                await wait_until(lambda: len(gaps) == 1, "a gap")
                await publisher.publish(b"y")
            with pytest.raises(ConnectionClosed) as caught:
                await publisher.flush()
            assert caught.value.code == 1006
            line.free()
            await publisher.flush()
            assert publisher.unconfirmed == 0
    assert [gap.unconfirmed for gap in gaps] == [1, 1]


async def test_a_flush_that_waits_for_room_when_the_connection_is_lost_tells_of_it() -> None:
    async def reads_nothing(peer: Peer) -> None:
        await peer.accept()
        await lose.wait()

    lose = asyncio.Event()
    line, gaps = Line(), list[Gap]()
    async with (
        scripted_server(in_turn(reads_nothing, stay), receive_buffer=65536) as url,
        publisher_of(url, line, gaps) as publisher,
    ):
        publishing = asyncio.create_task(publish_for_ever(publisher))
        await asyncio.wait([publishing], timeout=4 * SOON)
        publishing.cancel()
        await asyncio.wait([publishing])
        flush = asyncio.create_task(publisher.flush())
        await asyncio.wait([flush], timeout=SOON)
        lose.set()
        with pytest.raises(ConnectionClosed) as caught:
            await flush
        await wait_until(lambda: gaps, "a gap")
        assert caught.value is gaps[0].error


async def publish_for_ever(publisher: Publisher) -> None:
    while True:
        await publisher.publish(bytes(100_000))


async def test_a_loss_of_nothing_is_nothing_to_tell() -> None:
    line, gaps = Line(), list[Gap]()
    async with serving() as scene, publisher_of(topic(scene), line, gaps) as publisher:
        await publisher.publish(b"x")
        await publisher.flush()
        await leave(line)
        flush = asyncio.create_task(publisher.flush())
        await asyncio.wait([flush], timeout=SOON)
        assert not flush.done()
        line.free()
        await flush
        assert gaps[0].unconfirmed == 0


async def test_of_two_losses_unreported_the_first_is_told() -> None:
    line, gaps = Line(), list[Gap]()
    async with serving() as scene, publisher_of(topic(scene), line, gaps) as publisher:
        for count in (1, 2):
            await publisher.publish(b"x")
            await leave(line)
            line.free()
            await wait_until(lambda count=count: len(gaps) == count, "a gap")  # type: ignore[misc]
        with pytest.raises(ConnectionClosed) as caught:
            await publisher.flush()
        assert caught.value is gaps[0].error
        await publisher.flush()


async def test_a_flush_after_the_end_tells_of_the_end() -> None:
    line, gaps = Line(), list[Gap]()
    limits = Reconnect(first_delay=0.01, max_delay=0.01, attempts=2)
    async with serving() as scene, publisher_of(topic(scene), line, gaps, limits) as publisher:
        await publisher.publish(b"x")
        await leave(line)
        await publisher.wait_closed()
        with pytest.raises(ConnectFailed):
            await publisher.flush()
        assert publisher.unconfirmed == 1
    assert gaps == []

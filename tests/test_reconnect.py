"""Clients that come back: after what, after what not, and how that ends. A Publisher stands for all."""

import asyncio
import contextlib
from typing import Any

import pytest

from pubsub import (
    ClosedBy,
    ConnectFailed,
    ConnectionClosed,
    Gap,
    MisuseError,
    PeerError,
    Publisher,
    PubSubError,
    Reconnect,
    Subscriber,
    UnhandledMessageType,
    UpgradeRefused,
)
from pubsub.connection import Piece
from pubsub.dialing import Streams, connect_streams
from tests.support.comingback import (
    AT_ONCE,
    Line,
    accept_and_close,
    in_turn,
    kept_port,
    refuse,
    reset,
    serving_on,
    stay,
)
from tests.support.peers import SOON, Peer, refused_url, scripted_server
from tests.support.server import wait_until


class Told:
    """What a client's callbacks were told."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.losses: list[PubSubError] = []

    def arguments(self, reconnect: Reconnect = AT_ONCE) -> dict[str, Any]:
        return {"reconnect": reconnect, "on_gap": self.gaps.append, "on_away": self.losses.append}

    async def wait_back(self, count: int = 1) -> None:
        await wait_until(lambda: len(self.gaps) >= count, f"{count} gaps")

    async def wait_away(self) -> None:
        await wait_until(lambda: self.losses, "a loss")


@pytest.fixture
def told() -> Told:
    return Told()


# --- after what ---


async def test_without_being_asked_to_a_client_does_not_come_back() -> None:
    async with scripted_server(accept_and_close(1012)) as url, Publisher(url) as publisher:
        await publisher.wait_closed()
        assert isinstance(publisher.error, ConnectionClosed)


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 3000, 4000])
async def test_it_comes_back_after_a_close_that_says_so(told: Told, code: int) -> None:
    async with (
        scripted_server(in_turn(accept_and_close(code, "later"), stay)) as url,
        Publisher(url, **told.arguments()) as publisher,
    ):
        await told.wait_back()
        assert publisher.error is None
        [error] = told.losses
        assert isinstance(error, ConnectionClosed)
        assert (error.code, error.reason, error.by) == (code, "later", ClosedBy.PEER)
        assert told.gaps[0].error is error
        assert told.gaps[0].seconds >= 0
    assert publisher.error is None


@pytest.mark.parametrize("code", [1000, 1005, 1008, 1009, 3500, 4500])
async def test_it_stays_away_after_a_close_that_is_final(told: Told, code: int) -> None:
    async with (
        scripted_server(in_turn(accept_and_close(code), stay)) as url,
        Publisher(url, **told.arguments()) as publisher,
    ):
        await publisher.wait_closed()
        with pytest.raises(ConnectionClosed) as caught:
            await publisher.publish(b"x")
        assert caught.value.code == code
        assert caught.value is publisher.error
    assert (told.losses, told.gaps) == ([], [])


async def test_it_comes_back_after_a_lost_connection(told: Told) -> None:
    async with (
        scripted_server(in_turn(reset, Peer.accept, stay)) as url,  # a reset, then an end
        Publisher(url, **told.arguments()),
    ):
        await told.wait_back(2)
        assert [error.code for error in told.losses if isinstance(error, ConnectionClosed)] == [1006, 1006]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_refusals_that_pass_are_tried_again(told: Told, status: int) -> None:
    script = in_turn(reset, refuse(status), refuse(status), stay)
    async with scripted_server(script) as url, Publisher(url, **told.arguments()) as publisher:
        await told.wait_back()
        assert publisher.error is None
        assert len(told.losses) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426])
async def test_any_other_refusal_is_final(told: Told, status: int) -> None:
    async with (
        scripted_server(in_turn(reset, refuse(status))) as url,
        Publisher(url, **told.arguments()) as publisher,
    ):
        await publisher.wait_closed()
        assert isinstance(publisher.error, UpgradeRefused)
        assert publisher.error.status == status
        with pytest.raises(UpgradeRefused):
            await publisher.publish(b"x")
    assert told.gaps == []


async def test_a_server_that_hangs_up_instead_of_answering_is_tried_again(told: Told) -> None:
    async def hangs_up(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.hang_up()

    async with scripted_server(in_turn(reset, hangs_up, stay)) as url, Publisher(url, **told.arguments()):
        await told.wait_back()
    async with scripted_server(hangs_up) as url:
        with pytest.raises(ConnectFailed, match="hung up instead of answering"):
            await Publisher(url, **told.arguments()).open()


@pytest.mark.parametrize("answer", [b"220 mail.example ESMTP\r\n\r\n", b"\x83\x00"])
async def test_a_server_that_breaks_the_protocol_is_final(told: Told, answer: bytes) -> None:
    async def breaks_it(peer: Peer) -> None:
        if answer.startswith(b"2"):
            await peer.send(answer)
        else:
            await peer.accept(then=answer)
            await peer.receive_closed()
        while await peer.reader.read(65536):
            pass

    async with scripted_server(in_turn(reset, breaks_it)) as url, Publisher(url, **told.arguments()) as publisher:
        await publisher.wait_closed()
        assert isinstance(publisher.error, PeerError)


async def test_a_message_of_the_wrong_kind_is_final(told: Told) -> None:
    async def sends_text(peer: Peer) -> None:
        await peer.accept(then=peer.connection.message("text"))
        await peer.receive_closed()
        await peer.send(peer.connection.close(1012))

    async with scripted_server(sends_text) as url, Subscriber(url, **told.arguments()) as subscriber:
        with pytest.raises(UnhandledMessageType):
            await anext(subscriber)
        await subscriber.wait_closed()
        assert isinstance(subscriber.error, UnhandledMessageType)
    assert told.losses == []


async def test_a_close_of_ours_is_final_though_the_server_s_that_crosses_it_says_come_back(told: Told) -> None:
    async def crosses(peer: Peer) -> None:
        await peer.accept()
        await peer.receive_closed()
        await peer.send(peer.connection.close(1012))

    async with scripted_server(crosses) as url, Publisher(url, **told.arguments()) as publisher:
        await publisher.close()
        assert isinstance(publisher.error, ConnectionClosed)
        assert publisher.error.code == 1012
    assert told.losses == []


async def test_the_first_attempt_fails_at_once() -> None:
    publisher = Publisher(refused_url(), reconnect=True)
    with pytest.raises(ConnectFailed):
        await publisher.open()
    assert isinstance(publisher.error, ConnectFailed)
    async with scripted_server(refuse(503)) as url:
        with pytest.raises(UpgradeRefused):
            await Publisher(url, reconnect=True).open()


async def test_it_survives_a_restart_of_the_server(told: Told) -> None:
    with kept_port() as listener:
        async with contextlib.AsyncExitStack() as life:
            async with serving_on(listener) as server:
                publisher = await life.enter_async_context(Publisher(server.url + "/t", **told.arguments()))
                first_id = publisher.client_id
                await publisher.publish(b"one")
                await publisher.flush()
            async with serving_on(listener) as server, server.subscribe("/t") as reader:
                await publisher.publish(b"two")
                assert await anext(reader) == b"two"
                assert publisher.client_id not in ("", first_id)
                await publisher.close()
    assert publisher.error is None
    assert [error.code for error in told.losses if isinstance(error, ConnectionClosed)] == [1012]


# --- how often ---


async def test_what_a_refusal_asks_for_is_waited(told: Told) -> None:
    asked = 0.3
    came: list[float] = []

    async def note(peer: Peer) -> None:
        came.append(asyncio.get_running_loop().time())
        await script(peer)

    script = in_turn(reset, refuse(503, (b"Retry-After", b"3600")), stay)
    limits = Reconnect(first_delay=0.01, max_delay=asked)
    async with scripted_server(note) as url, Publisher(url, **told.arguments(limits)):
        await told.wait_back()
    # An hour, of which max_delay is the most.
    assert came[2] - came[1] >= asked


async def test_it_ends_with_the_last_error_when_attempts_are_used_up(told: Told) -> None:
    line = Line()
    limits = Reconnect(first_delay=0.01, max_delay=0.01, attempts=3)
    async with (
        scripted_server(in_turn(reset)) as url,
        Publisher(url, connect=line.connect, **told.arguments(limits)) as publisher,
    ):
        line.hold()
        await publisher.wait_closed()
        assert line.attempts == 4
        for call in (publisher.publish(b"x"), publisher.flush()):
            with pytest.raises(ConnectFailed, match="the line is held") as caught:
                await call
            assert caught.value is publisher.error
    assert len(told.losses) == 1


async def test_a_server_that_only_takes_in_to_close_again_uses_attempts_up_too(told: Told) -> None:
    limits = Reconnect(first_delay=0.01, max_delay=0.01, attempts=3, steady_after=60.0)
    async with scripted_server(accept_and_close(1013, "full")) as url:
        async with Publisher(url, **told.arguments(limits)) as publisher:
            await publisher.wait_closed()
        assert isinstance(publisher.error, ConnectionClosed)
        assert (publisher.error.code, publisher.error.reason) == (1013, "full")
    assert len(told.losses) == 4
    assert len(told.gaps) == 3


async def test_it_gives_up_after_its_time(told: Told) -> None:
    line = Line()
    limits = Reconnect(first_delay=0.01, max_delay=0.01, give_up_after=SOON)
    async with (
        scripted_server(reset) as url,
        Publisher(url, connect=line.connect, **told.arguments(limits)) as publisher,
    ):
        line.hold()
        await publisher.wait_closed()
        assert isinstance(publisher.error, ConnectFailed)


# --- ended meanwhile ---

LONG = Reconnect(first_delay=3600.0, max_delay=3600.0)


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

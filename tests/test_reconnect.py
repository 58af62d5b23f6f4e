"""Clients that come back: after what, after what not, and how often. A Publisher stands for all."""

import asyncio
import contextlib

import pytest

from pubsub import (
    ClosedBy,
    ConnectFailed,
    ConnectionClosed,
    PeerError,
    Publisher,
    Reconnect,
    Subscriber,
    UnhandledMessageType,
    UpgradeRefused,
)
from tests.support.comingback import (
    Line,
    Told,
    accept_and_close,
    in_turn,
    kept_port,
    refuse,
    reset,
    serving_on,
    stay,
)
from tests.support.peers import SOON, Peer, refused_url, scripted_server


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


async def test_connections_that_lasted_do_not_use_attempts_up(told: Told) -> None:
    limits = Reconnect(first_delay=0.01, max_delay=0.01, attempts=1, steady_after=0.0)
    async with scripted_server(in_turn(reset, reset, reset, stay)) as url:
        async with Publisher(url, **told.arguments(limits)) as publisher:
            await told.wait_back(3)
        assert publisher.error is None

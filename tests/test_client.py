"""What every client does: opening, closing, being closed, losing, keeping alive. A Publisher stands for all."""

import asyncio
import socket
from typing import Any

import pytest

from pubsub import ClosedBy, ConnectFailed, ConnectionClosed, MisuseError, PeerError, Publisher, UpgradeRefused
from pubsub.client import Probe
from pubsub.connection import Closed, Piece
from pubsub.dialing import Streams, connect_streams
from pubsub.handshake import Refusal
from tests.support.peers import (
    SOON,
    Peer,
    Received,
    client_tls,
    collect,
    gather,
    refused_url,
    scripted_server,
    server_tls,
    websockets_server,
)

# --- opening ---


async def test_the_request_says_what_the_client_is() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept((b"pubsub-client-id", b"me-1234"))
        headers = dict(peer.request.headers)
        assert headers[b"pubsub"] == b"publisher"
        assert headers[b"pubsub-client-name"] == b"me"
        assert headers[b"x-token"] == b"t"
        assert peer.request.target == "/topic?x=%C3%A9"
        await peer.receive_closed()
        await peer.send(peer.connection.close())

    for headers in ([("X-Token", "t")], {"X-Token": "t"}):
        async with scripted_server(script) as url:
            publisher = Publisher(url + "?x=é", name="me", headers=headers)
            assert publisher.client_id == ""
            async with publisher:
                assert publisher.client_id == "me-1234"
            assert publisher.url == url + "?x=%C3%A9"


async def test_a_server_that_gives_no_id_is_a_server_too() -> None:
    async with websockets_server(collect) as url, Publisher(url) as publisher:  # type: ignore[arg-type]
        assert publisher.client_id == ""


async def test_without_a_url_pubsub_addr_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Received] = []
    async with websockets_server(lambda peer: gather(peer, received)) as url:
        server, _, _ = url.removeprefix("ws://").partition("/")
        for variable, given in ((url, None), (server, "/topic"), (server, None)):
            monkeypatch.setenv("PUBSUB_ADDR", variable)
            async with Publisher(given) as publisher:
                assert publisher.url.startswith(f"ws://{server}/")
                await publisher.publish(b"here")
    assert received == [[b"here"]] * 3


async def test_a_connection_factory_makes_the_streams() -> None:
    asked: list[Any] = []

    async def connect(*where: Any) -> Streams:
        asked.append(where)
        return await connect_streams("127.0.0.1", port, None, None)

    async with websockets_server(collect) as url:  # type: ignore[arg-type]
        port = int(url.rpartition(":")[2].partition("/")[0])
        async with Publisher("ws://elsewhere.example:1/x", connect=connect) as publisher:
            await publisher.publish(b"through a tunnel")
    assert asked == [("elsewhere.example", 1, None, None)]


async def test_wss_checks_the_server_s_certificate() -> None:
    received: list[Received] = []
    async with websockets_server(lambda peer: gather(peer, received), tls=server_tls()) as url:
        async with Publisher(url, ssl=client_tls()) as publisher:
            await publisher.publish(b"x" * 1_000_000)
            await publisher.flush()
        assert publisher.error is None
        with pytest.raises(ConnectFailed, match="certificate"):
            await Publisher(url).open()
    assert received == [[b"x" * 1_000_000]]


async def test_a_refusal_brings_status_and_body() -> None:
    async def refuses(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(Refusal(403, "not from here; ask elsewhere").to_bytes())

    async with scripted_server(refuses) as url:
        publisher = Publisher(url)
        with pytest.raises(UpgradeRefused) as caught:
            await publisher.open()
        assert (caught.value.status, caught.value.body) == (403, "not from here; ask elsewhere\n")
        assert publisher.error is caught.value
        with pytest.raises(MisuseError, match="closed already"):
            await publisher.open()
        with pytest.raises(UpgradeRefused):
            await publisher.publish(b"x")
        await publisher.close()
        await publisher.wait_closed()


async def test_a_server_that_speaks_something_else_is_the_peer_s_error() -> None:
    async def greets(peer: Peer) -> None:
        await peer.send(b"220 mail.example ESMTP\r\n\r\n")
        await peer.reader.read()

    async with scripted_server(greets) as url:
        with pytest.raises(PeerError, match="no WebSocket"):
            await Publisher(url).open()


async def test_where_nobody_listens_the_connection_fails() -> None:
    with pytest.raises(ConnectFailed, match="is a server there\\?") as caught:
        await Publisher(refused_url()).open()
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_server_that_does_not_answer_in_time_fails_the_connection() -> None:
    async with scripted_server(until_hung_up) as url:
        with pytest.raises(ConnectFailed, match=r"open_timeout=0\.05 s"):
            await Publisher(url, open_timeout=SOON).open()


async def until_hung_up(peer: Peer) -> None:
    try:
        while await peer.reader.read(65536):
            pass
    except ConnectionError:
        pass


async def test_opening_that_is_cancelled_leaves_nothing_open() -> None:
    async with scripted_server(until_hung_up) as url:
        publisher = Publisher(url)
        opening = asyncio.create_task(publisher.open())
        await asyncio.wait([opening], timeout=SOON)
        with pytest.raises(MisuseError, match="being opened"):
            await publisher.close()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await publisher.close()


# --- closing ---


async def test_close_sends_what_was_published_and_waits_for_the_answer() -> None:
    closed_by_server = False

    async def script(peer: Peer) -> None:
        nonlocal closed_by_server
        await peer.accept()
        assert await peer.receive() == Piece(b"last words", last=True)
        assert await peer.receive() == Closed(1000, "", error=False)
        closed_by_server = True
        await peer.send(peer.connection.close())

    async with scripted_server(script) as url, Publisher(url) as publisher:
        await publisher.publish(b"last words")
        await publisher.close()
        assert closed_by_server
        await publisher.close()
        await publisher.wait_closed()
        with pytest.raises(ConnectionClosed) as caught:
            await publisher.publish(b"too late")
        assert (caught.value.code, caught.value.by) == (1000, ClosedBy.US)
    assert publisher.error is None


async def test_a_server_that_does_not_answer_a_close_is_cut_off() -> None:
    async with scripted_server(accept_and_ignore) as url:
        async with Publisher(url, close_deadline=SOON) as publisher:
            pass
        assert isinstance(publisher.error, ConnectionClosed)
        assert (publisher.error.code, publisher.error.by) == (1006, ClosedBy.NETWORK)


async def accept_and_ignore(peer: Peer) -> None:
    await peer.accept()
    await until_hung_up(peer)


async def test_a_close_that_is_cancelled_cuts_the_connection() -> None:
    async with scripted_server(accept_and_ignore) as url:
        publisher = await Publisher(url).open()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await publisher.close()
        await publisher.wait_closed()
        assert isinstance(publisher.error, ConnectionClosed)


async def test_a_close_that_crosses_the_server_s_tells_why_the_server_closed() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive_closed()
        await peer.send(peer.connection.close(1013, "too full"))

    async with scripted_server(script) as url, Publisher(url) as publisher:
        await publisher.close()
        assert isinstance(publisher.error, ConnectionClosed)
        assert (publisher.error.code, publisher.error.reason) == (1013, "too full")


async def test_a_client_that_was_never_opened_can_be_closed() -> None:
    publisher = Publisher(refused_url())
    for call in (publisher.publish(b"x"), publisher.flush(), publisher.wait_closed()):
        with pytest.raises(MisuseError, match="not open"):
            await call
    await publisher.close()
    with pytest.raises(MisuseError, match="closed already"):
        await publisher.open()


# --- losing ---


async def test_the_server_s_close_says_code_reason_and_whether_to_come_back() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(peer.connection.close(1012, "restarting"))
        assert await peer.receive_closed() == Closed(1012, "", error=False)

    async with scripted_server(script) as url, Publisher(url) as publisher:
        await publisher.wait_closed()
        for call in (publisher.publish(b"x"), publisher.flush()):
            with pytest.raises(ConnectionClosed) as caught:
                await call
            assert caught.value is publisher.error
        assert isinstance(publisher.error, ConnectionClosed)
        assert (publisher.error.code, publisher.error.reason, publisher.error.by, publisher.error.come_back) == (
            1012,
            "restarting",
            ClosedBy.PEER,
            True,
        )


async def test_a_close_without_a_code_is_answered_in_kind() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(peer.connection.close(1005))
        assert await peer.receive_closed() == Closed(1005, "", error=False)

    async with scripted_server(script) as url, Publisher(url) as publisher:
        await publisher.wait_closed()
        assert isinstance(publisher.error, ConnectionClosed)
        assert publisher.error.code == 1005


async def test_what_was_published_is_sent_before_the_server_s_close_is_answered() -> None:
    received: list[object] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(peer.connection.close(1012))
        while not isinstance(happening := await peer.receive(), Closed):
            received.append(happening)

    async with scripted_server(script) as url, Publisher(url) as publisher:
        await publisher.publish(b"just in time")
        await publisher.wait_closed()
    assert received == [Piece(b"just in time", last=True)]


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_connection_that_is_lost_wakes_everybody_who_waits(how: str) -> None:
    lose = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await lose.wait()
        if how == "end":
            await peer.hang_up()

    async with scripted_server(script) as url, Publisher(url) as publisher:
        waiting = [
            asyncio.create_task(publish_for_ever(publisher)),
            asyncio.create_task(publish_for_ever(publisher)),
            asyncio.create_task(publisher.flush()),
        ]
        await asyncio.wait(waiting, timeout=SOON)
        lose.set()
        for task in waiting:
            with pytest.raises(ConnectionClosed) as caught:
                await task
            assert (caught.value.code, caught.value.by, caught.value.come_back) == (1006, ClosedBy.NETWORK, True)
        await publisher.wait_closed()


async def publish_for_ever(publisher: Publisher) -> None:
    while True:
        await publisher.publish(bytes(100_000))


async def test_a_server_that_breaks_the_protocol_is_told_so() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(b"\x83\x00")
        assert (await peer.receive_closed()).code == 1002

    async with scripted_server(script) as url, Publisher(url) as publisher:
        await publisher.wait_closed()
        assert isinstance(publisher.error, PeerError)
        assert publisher.error.code == 1002
        assert "opcode" in str(publisher.error)


async def test_the_end_of_the_loop_ends_an_open_client(loop_errors: list[str]) -> None:
    async with websockets_server(collect) as url:  # type: ignore[arg-type]

        async def forget_to_close() -> Publisher:
            return await Publisher(url).open()

        publisher = await asyncio.to_thread(lambda: asyncio.run(forget_to_close()))
    assert isinstance(publisher.error, ConnectionClosed)
    assert publisher.error.code == 1006
    assert all("leaked task" in line for line in loop_errors)
    loop_errors.clear()


# --- keeping alive ---


async def test_pings_are_answered_and_messages_ignored() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(peer.connection.message(b"for whom?") + peer.connection.ping(b"there?"))
        assert (await peer.receive()).payload == b"there?"  # type: ignore[union-attr]
        await peer.send(peer.connection.close())
        await peer.receive_closed()

    async with scripted_server(script) as url, Publisher(url) as publisher:
        await publisher.wait_closed()


async def test_the_kernel_watches_over_an_idle_connection() -> None:
    seen: list[int] = []

    async def connect(*where: Any) -> Streams:
        reader, writer = await connect_streams(*where)
        seen.append(writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        return reader, writer

    async with websockets_server(collect) as url, Publisher(url, connect=connect):  # type: ignore[arg-type]
        assert seen == [1]


async def test_a_probe_says_that_it_only_checks() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(then=peer.connection.close())
        assert dict(peer.request.headers)[b"pubsub"] == b"check"
        await peer.receive_closed()

    async with scripted_server(script) as url, Probe(url) as probe:
        await probe.wait_closed()

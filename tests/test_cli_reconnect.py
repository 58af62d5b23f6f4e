"""`fastpubsub pub --reconnect` and `sub --reconnect`: what they tell of losses, and how they end."""

import asyncio
import signal
import socket
import threading
from collections.abc import Awaitable
from typing import Any

from pubsub.connection import Closed, Piece, Ping
from tests.support.comingback import in_turn, in_turn_threaded, kept_port, serving_on
from tests.support.peers import Peer, refused_url, scripted_server, threaded_server
from tests.support.processes import command, run_command


def restart(peer: Any) -> None:
    peer.close(1012, "restarting")


async def test_sub_goes_on_after_a_restart_and_says_what_happened() -> None:
    def line(containing: str, stream: str = "stderr") -> Awaitable[str]:
        return asyncio.to_thread(reader.wait_line, containing, stream)

    with kept_port() as listener:
        async with serving_on(listener) as server:
            reader = command("sub", "-v", "--reconnect", "--count", "2", f"{server.url}/news")
            with reader:
                await line("subscribed to")
                server.publish("/news", "before")
                await line("before", "stdout")
                await server.close()
                lost = await line("1012")
                async with serving_on(listener) as again:
                    back = await line("back after")
                    again.publish("/news", "after")
                    finished = await asyncio.to_thread(reader.finish)
    assert "coming back" in lost
    assert "nobody knows how many" in back
    assert (finished.code, finished.stdout, finished.stderr) == (0, b"after\n", "")


def test_sub_ends_with_1_when_the_server_says_that_it_is_final() -> None:
    with threaded_server(in_turn_threaded(restart, lambda peer: peer.close(1008, "not you"))) as url:
        finished = run_command("sub", "--reconnect", url)
    assert finished.code == 1
    lines = finished.stderr.splitlines()
    assert [line.startswith("fastpubsub: ") for line in lines] == [True] * 3
    assert "1012" in lines[0] and "back after" in lines[1] and "not you" in lines[2]


def test_sub_says_nothing_when_nothing_happens() -> None:
    def says_hello_and_stays(peer: Any) -> None:
        peer.send("hello")
        list(peer)

    with threaded_server(says_hello_and_stays) as url:
        finished = run_command("sub", "--reconnect", "--count", "1", url)
    assert (finished.code, finished.stdout, finished.stderr) == (0, b"hello\n", "")


def test_the_first_connection_has_to_succeed() -> None:
    for name in ("pub", "sub"):
        finished = run_command(name, "--reconnect", refused_url())
        assert finished.code == 1
        assert finished.stderr.count("\n") == 1 and "fastpubsub serve" in finished.stderr


def test_pub_exits_with_0_when_a_loss_lost_nothing() -> None:
    received: list[str | bytes] = []
    handler = in_turn_threaded(restart, received.extend)
    with threaded_server(handler) as url, command("pub", "--reconnect", url) as writer:
        writer.wait_line("back after", "stderr")
        finished = writer.finish(b"one\ntwo\n")
    assert (finished.code, finished.stderr) == (0, "")
    assert received == [b"one", b"two"]


def test_pub_exits_with_1_and_says_how_many_may_be_lost() -> None:
    received: list[str | bytes] = []

    def takes_one(peer: Any) -> None:
        received.append(peer.recv())
        # Gone without a Close and without an answer to a flush.
        peer.socket.shutdown(socket.SHUT_RDWR)

    handler = in_turn_threaded(takes_one, received.extend)
    with threaded_server(handler) as url, command("pub", "--reconnect", url) as writer:
        writer.stdin.write(b"one\n")
        assert "1 message unconfirmed" in writer.wait_line("back after", "stderr")
        finished = writer.finish(b"two\n")
    assert finished.code == 1
    assert finished.stderr == "fastpubsub: 1 message unconfirmed, and maybe lost\n"
    assert received == [b"one", b"two"]


def test_pub_that_never_gets_back_says_how_many_may_be_lost_and_why() -> None:
    def takes_one_and_is_final(peer: Any) -> None:
        peer.recv()
        peer.close(1008, "not you")

    with threaded_server(takes_one_and_is_final) as url, command("pub", "--reconnect", url) as writer:
        writer.stdin.write(b"one\n")
        finished = writer.finish_with_open_input()
    assert finished.code == 1
    first, second = finished.stderr.splitlines()
    assert first == "fastpubsub: 1 message unconfirmed, and maybe lost"
    assert "not you" in second


async def test_pub_flushes_now_and_then_so_that_little_is_in_doubt() -> None:
    flushed = threading.Event()

    async def takes_two(peer: Peer) -> None:
        await peer.accept()
        assert await peer.receive() == Piece(b"one", last=True)
        ping = await peer.receive()
        assert isinstance(ping, Ping)
        await peer.send(peer.connection.pong(ping.payload))
        flushed.set()
        while await peer.receive() != Piece(b"two", last=True):
            pass

    async def takes_all(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(happening := await peer.receive(), Closed):
            if isinstance(happening, Ping):
                await peer.send(peer.connection.pong(happening.payload))
        await peer.send(peer.connection.close())

    def publish(url: str) -> str:
        with command("pub", "--reconnect", url) as writer:
            writer.stdin.write(b"one\n")
            assert flushed.wait(30)
            writer.stdin.write(b"two\n")
            line = writer.wait_line("back after", "stderr")
            assert writer.finish().code == 1
        return line

    async with scripted_server(in_turn(takes_two, takes_all)) as url:
        assert "1 message unconfirmed" in await asyncio.to_thread(publish, url)


def test_ctrl_c_ends_one_that_is_away() -> None:
    for name in ("pub", "sub"):
        with threaded_server(restart) as url, command(name, "--reconnect", url) as waiting:
            waiting.wait_line("coming back", "stderr")
            waiting.signal(signal.SIGINT)
            assert waiting.finish_with_open_input().code == 130

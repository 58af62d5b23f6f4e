"""`fastpubsub pub --reconnect` and `sub --reconnect`: what they tell of losses, and how they end."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import websockets.sync.server

from pubsub.connection import Closed, Piece, Ping
from tests.support.comingback import in_turn
from tests.support.peers import Peer, scripted_server
from tests.support.processes import command, run_command, running_server


@contextmanager
def serving_again(*handlers: Callable[[Any], object]) -> Iterator[str]:
    """The URL of a server that serves the first connection with the first handler, and so on, and then is gone."""
    left = list(handlers)

    def serve(peer: websockets.sync.server.ServerConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            left.pop(0)(peer)
        if not left:
            threading.Thread(target=server.shutdown).start()

    with websockets.sync.server.serve(serve, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/news"
        server.shutdown()
        thread.join()


def restart(peer: Any) -> None:
    peer.close(1012, "restarting")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_sub_goes_on_after_a_restart_and_says_what_happened() -> None:
    address = f"127.0.0.1:{free_port()}"
    with running_server(address=address) as server:
        reader = command("sub", "-v", "--reconnect", "--count", "2", f"{server.url}/news")
        with reader:
            reader.wait_line("subscribed to", "stderr")
            assert run_command("pub", f"{server.url}/news", "before").code == 0
            assert reader.line() == "before"
            server.program.signal(signal.SIGTERM)
            assert "1012" in (line := reader.line("stderr")) and "coming back" in line
            server.program.finish()
            with running_server(address=address) as again:
                assert "nobody knows how many" in reader.wait_line("back after", "stderr")
                assert run_command("pub", f"{again.url}/news", "after").code == 0
                finished = reader.finish()
    assert (finished.code, finished.stdout, finished.stderr) == (0, b"after\n", "")


def test_sub_ends_with_1_when_the_server_says_that_it_is_final() -> None:
    with serving_again(restart, lambda peer: peer.close(1008, "not you")) as url:
        finished = run_command("sub", "--reconnect", url)
    assert finished.code == 1
    lines = finished.stderr.splitlines()
    assert [line.startswith("fastpubsub: ") for line in lines] == [True] * 3
    assert "1012" in lines[0] and "back after" in lines[1] and "not you" in lines[2]


def test_sub_says_nothing_when_nothing_happens() -> None:
    with serving_again(lambda peer: peer.send("hello")) as url:
        finished = run_command("sub", "--reconnect", "--count", "1", url)
    assert (finished.code, finished.stdout, finished.stderr) == (0, b"hello\n", "")


def test_the_first_connection_has_to_succeed() -> None:
    for name in ("pub", "sub"):
        finished = run_command(name, "--reconnect", f"ws://127.0.0.1:{free_port()}/news")
        assert finished.code == 1
        assert finished.stderr.count("\n") == 1 and "fastpubsub serve" in finished.stderr


def test_pub_exits_with_0_when_a_loss_lost_nothing() -> None:
    received: list[str | bytes] = []
    with serving_again(restart, received.extend) as url, command("pub", "--reconnect", url) as writer:
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

    with serving_again(takes_one, received.extend) as url, command("pub", "--reconnect", url) as writer:
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

    with serving_again(takes_one_and_is_final) as url, command("pub", "--reconnect", url) as writer:
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
        with serving_again(restart) as url, command(name, "--reconnect", url) as waiting:
            waiting.wait_line("coming back", "stderr")
            waiting.signal(signal.SIGINT)
            assert waiting.finish_with_open_input().code == 130

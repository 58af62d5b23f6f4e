"""Where a server listens, what it says when it cannot, and that it takes nothing with it when it goes."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import pubsub
from pubsub.errors import ConfigError, MisuseError
from pubsub.options import Options
from pubsub.server import Server, serve
from tests.support.rawclient import RawClient, frame, request
from tests.support.server import serving


async def talk(port: int, host: str = "127.0.0.1") -> None:
    """A message from a publisher to a subscriber at that address."""
    subscriber, publisher = [await RawClient.dial(port, host) for _ in range(2)]
    with contextlib.closing(subscriber), contextlib.closing(publisher):
        await subscriber.upgrade(request("/t"))
        await publisher.upgrade(request("/t", role="publisher"))
        await publisher.send(frame(b"hello"))
        assert await subscriber.read_message() == b"hello"


async def test_port_0_is_a_free_port_that_the_url_names() -> None:
    async with serving() as one, serving() as other:
        assert one.server.port != other.server.port
        assert one.server.url == f"ws://127.0.0.1:{one.server.port}"
        await talk(one.server.port)


async def test_ipv6_is_listened_on_and_bracketed() -> None:
    async with serving("::1") as scene:
        assert scene.server.url == f"ws://[::1]:{scene.server.port}"
        await talk(scene.server.port, "::1")


async def test_an_empty_host_means_every_address_on_one_port() -> None:
    async with serving("") as scene:
        assert scene.server.url == f"ws://127.0.0.1:{scene.server.port}"
        await talk(scene.server.port, "127.0.0.1")
        await talk(scene.server.port, "::1")


async def test_a_name_is_looked_up() -> None:
    async with serving("localhost") as scene:
        await talk(scene.server.port)


async def test_an_empty_host_works_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = socket.socket

    def without_ipv6(family: int = -1, *arguments: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return plain(family, *arguments)

    monkeypatch.setattr("pubsub.server.socket.socket", without_ipv6)
    async with serve("", 0) as server:
        monkeypatch.undo()
        await talk(server.port)


async def test_a_socket_that_listens_already_can_be_given() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    async with serving(sock=sock) as scene:
        assert scene.server.port == port
        await talk(port)
    # The server owned it.
    assert sock.fileno() == -1


async def test_a_unix_socket_can_be_given() -> None:
    path = f"/tmp/fastfan-test-{os.getpid()}.sock"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    try:
        async with serving(sock=sock) as scene:
            peer = socket.socket(socket.AF_UNIX)
            peer.setblocking(False)
            client = RawClient(peer)
            with contextlib.closing(client):
                await asyncio.get_running_loop().sock_connect(peer, path)
                await client.upgrade(request("/t"))
                scene.server.publish("/t", b"over a path")
                assert await client.read_message() == b"over a path"
    finally:
        os.unlink(path)


async def test_serve_can_be_awaited_as_well() -> None:
    server = await serve(port=0)
    await talk(server.port)
    await server.close()
    async with await serve(port=0) as server:
        await talk(server.port)


async def test_it_listens_before_it_is_awaited() -> None:
    starting = serve(port=0)
    async with starting as server:
        await talk(server.port)


async def test_serve_is_the_packages() -> None:
    assert pubsub.serve is serve and pubsub.Server is Server


# --- what cannot be -------------------------------------------------------------------------------------------------


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def test_a_port_in_use_is_a_config_error_that_says_how_to_mend_it(taken_port: int) -> None:
    with pytest.raises(ConfigError) as caught:
        serve("127.0.0.1", taken_port)
    assert str(caught.value).startswith(f"cannot listen on 127.0.0.1:{taken_port}: Address already in use; ")
    assert "another" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("192.0.2.1", 0, "192.0.2.1:0"),
        ("2001:db8::1", 0, "[2001:db8::1]:0"),
        ("no.such.host.invalid", 0, "no.such.host.invalid:0"),
        ("a" * 300, 0, "cannot listen"),
        ("a..b", 0, "a..b:0"),
        ("127.0.0.1", 65536, "65536"),
        ("127.0.0.1", 70000, "70000"),
        ("127.0.0.1", -1, "-1"),
    ],
)
def test_an_address_that_cannot_be_had_is_a_config_error(host: str, port: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        serve(host, port)
    text = str(caught.value)
    assert words in text and "; " in text and "\n" not in text


async def test_a_socket_that_does_not_listen_is_a_misuse() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(MisuseError, match="listen"):
            # Accepting from it would fail at once, again and again.
            await serve(sock=sock)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"options": {"lane": False}}, r"options=\{'lane': False\} is no Options; give pubsub\.Options"),
        ({"options": "lane"}, "options='lane' is no Options"),
        ({"options": False}, "options=False is no Options"),
        ({"host": 5}, "host=5 is no text; give a name"),
        ({"port": "0"}, "port='0' is no number; give one from 0 to 65535"),
        ({"port": None}, "port=None is no number"),
        ({"port": True}, "port=True is no number"),
        ({"sock": 5}, r"sock=5 is no socket; give a socket\.socket"),
    ],
)
def test_what_is_no_argument_is_the_callers_mistake(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(MisuseError, match=complaint):
        serve(**({"port": 0} | arguments))


async def test_what_serve_gives_begins_once() -> None:
    serving = serve(port=0)
    async with serving as server:
        with pytest.raises(MisuseError, match="this has begun already"):
            await serving
        with pytest.raises(MisuseError, match="this has begun already"):
            async with serving:
                pass
        await talk(server.port)


async def test_a_server_that_cannot_be_made_gives_its_port_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_engine(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    before = open_descriptors()
    monkeypatch.setattr("pubsub.server.fastfan.Engine", no_engine)
    with pytest.raises(ConfigError, match="Too many open files"):
        await serve(port=0)
    assert open_descriptors() == before


def test_when_one_of_the_addresses_is_in_use_none_is_kept() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=False) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="in use"):
            serve("", port)
        socket.create_server(("0.0.0.0", port)).close()


def test_a_server_needs_a_running_loop() -> None:
    starting = serve(port=0)
    with pytest.raises(RuntimeError):
        starting.__await__().send(None)
    for listener in starting._listeners:
        listener.close()


# --- what it takes and gives back -----------------------------------------------------------------------------------


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_closed_server_holds_no_descriptor_even_while_it_is_held_itself() -> None:
    before = open_descriptors()
    servers = []
    for _ in range(3):
        async with serving("") as scene:
            clients = [await scene.join("/t", role) for role in ("publisher", "subscriber", "duplex")]
            await clients[0].send(frame(bytes(300_000)))
            await scene.dial()
            servers.append(scene.server)
    assert open_descriptors() == before


async def test_a_closed_server_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with serving() as scene:
        await scene.join()
    assert asyncio.all_tasks() == before


async def test_a_port_can_be_taken_again_right_after_the_end() -> None:
    async with serving() as scene:
        port = scene.server.port
        client = await scene.join()
        # The server closes first, so its side would be in TIME_WAIT.
        await asyncio.gather(scene.server.close(), client.read_close())
    async with serving(port=port) as scene:
        await talk(port)


async def test_options_are_those_that_were_given() -> None:
    async with serve(port=0, options=Options(max_memory_bytes=1 << 21)) as server:
        assert server.stats().max_memory_bytes == 1 << 21

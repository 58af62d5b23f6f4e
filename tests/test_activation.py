"""Socket activation: a listening socket that outlives the servers on it, so that nobody is refused meanwhile."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from pubsub import Subscriber
from pubsub.cli.activation import inherited_listeners
from pubsub.errors import ConfigError
from tests.support.processes import Program
from tests.support.server import wait_until

# As a service manager does it: the socket becomes descriptor 3, and the variables name the process that it is for.
STARTER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "pubsub", "serve", *sys.argv[2:]])
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        sock.set_inheritable(True)
        yield sock


@contextmanager
def activated(listener: socket.socket, *flags: str) -> Iterator[Program]:
    with Program(
        "-c", STARTER, str(listener.fileno()), "--events", "none", *flags, pass_fds=(listener.fileno(),)
    ) as program:
        yield program


def test_it_serves_on_the_socket_that_it_is_given_and_says_so(listener: socket.socket) -> None:
    with activated(listener) as program:
        port = listener.getsockname()[1]
        assert f"Listening on ws://127.0.0.1:{port};" in program.line()
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as client:
            client.sendall(b"GET /t HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        program.signal(signal.SIGTERM)
        assert program.finish().code == 0
    # It is not the server's to close: who comes now waits.
    socket.create_connection(("127.0.0.1", port), timeout=30).close()


def test_an_address_besides_is_one_line_and_exit_code_2(listener: socket.socket) -> None:
    with activated(listener, "127.0.0.1:0") as program:
        finished = program.finish()
        assert finished.code == 2 and "LISTEN_FDS" in finished.stderr and finished.stderr.count("\n") == 1


@pytest.mark.parametrize("pid", ["1", "", None])
def test_sockets_that_are_meant_for_another_process_are_left_alone(pid: str | None) -> None:
    environment = {"LISTEN_FDS": "1"} | ({} if pid is None else {"LISTEN_PID": pid})
    assert inherited_listeners(environment) == []
    assert environment == {}


@pytest.mark.parametrize(
    ("descriptors", "complaint"),
    [
        ("no", "LISTEN_FDS='no' is no number"),
        ("-1", "LISTEN_FDS='-1' is no number"),
        ("9" * 5000, r"LISTEN_FDS='9+\.\.\. is more than a process can have; give"),
    ],
)
def test_what_is_no_count_is_said_to_be_none(descriptors: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        inherited_listeners({"LISTEN_FDS": descriptors, "LISTEN_PID": str(os.getpid())})


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        ("os.open('/dev/null', os.O_RDONLY)", "is no socket"),
        ("socket.socket(socket.AF_INET, socket.SOCK_STREAM)", "does not listen"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "does not listen"),
        ("socket.socketpair()[0]", "is no TCP socket"),
    ],
)
def test_what_is_no_listening_tcp_socket_is_refused(made: str, complaint: str) -> None:
    program = (
        f"import os, socket; made = {made}; os.dup2(made if isinstance(made, int) else made.fileno(), 3)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "from pubsub.cli.activation import inherited_listeners\n"
        "from pubsub.errors import ConfigError\n"
        "try:\n    inherited_listeners()\nexcept ConfigError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert f"descriptor 3 of LISTEN_FDS {complaint}" in done.stdout


async def test_a_restart_under_load_refuses_nobody(listener: socket.socket) -> None:
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/t"
    loop = asyncio.get_running_loop()
    ended, opened, failed = False, 0, list[Exception]()

    async def come_and_go() -> None:
        nonlocal opened
        while not ended:
            subscriber = Subscriber(url, open_timeout=30.0)
            try:
                async with subscriber:
                    opened += 1
                    await asyncio.sleep(0.001)
            except Exception as error:
                failed.append(error)
            if subscriber.error is not None and getattr(subscriber.error, "code", None) != 1012:
                failed.append(subscriber.error)

    load = [asyncio.create_task(come_and_go()) for _ in range(30)]
    try:
        for servers_left in (3, 2, 1, 0):
            with activated(listener, "--drain-seconds", "1s") as program:
                await loop.run_in_executor(None, program.line)
                enough = opened + 200
                await wait_until(lambda enough=enough: opened >= enough or failed, "clients")  # type: ignore[misc]
                if not servers_left:
                    ended = True
                    await asyncio.wait(load, timeout=30.0)
                program.signal(signal.SIGTERM)
                assert (await loop.run_in_executor(None, program.finish)).code == 0
    finally:
        ended = True
        await asyncio.gather(*load)
    assert failed == []

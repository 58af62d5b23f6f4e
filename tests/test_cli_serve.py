"""`fastpubsub serve`: where it listens, what it tells, how it ends. Real processes on free ports."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from pubsub import Event, EventType
from pubsub.cli.command import run
from pubsub.cli.eventlines import print_events
from pubsub.cli.pipes import Output
from pubsub.eventstream import EventStreams
from tests.support.processes import RunningServer, command, run_command, running_server

# A whole upgrade by hand: a subscriber that never reads, not even the server's Close.
UPGRADE = (
    b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\npubsub: subscriber\r\n\r\n"
)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def connect(server: RunningServer) -> socket.socket:
    place = urlsplit(server.url)
    assert place.hostname and place.port
    return socket.create_connection((place.hostname, place.port), timeout=30)


def stop(server: RunningServer, number: signal.Signals = signal.SIGTERM) -> int:
    server.program.signal(number)
    return server.program.finish().code


# -- Where it listens ----------------------------------------------------------------------------------------------


def test_the_first_line_says_where_it_listens_and_what_to_try_next() -> None:
    with command("serve", "127.0.0.1:0", "--events", "lines") as program:
        line = program.line()
    found = re.fullmatch(r"Listening on (ws://127\.0\.0\.1:\d+); try: fastpubsub sub (\S+)/hello", line)
    assert found and found[1] == found[2] and not found[1].endswith(":0")


def test_into_a_pipe_the_first_line_is_json_as_the_events_are() -> None:
    with command("serve", "127.0.0.1:0") as program:
        first = json.loads(program.line())
    assert first["try"] == f"fastpubsub sub {first['listening']}/hello"


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (("--port", "0"), "127.0.0.1:{taken}"),
        (("127.0.0.1:0",), "127.0.0.1:{taken}"),
        (("127.0.0.1:{taken}", "--port", "0"), "nonsense"),
        (("192.0.2.1:0", "--host", "127.0.0.1"), "nonsense"),
        (("--host", "127.0.0.1", "--port", "0"), "ws://client.example/news"),
        ((), "127.0.0.1:0"),
    ],
)
def test_a_flag_wins_over_the_address_and_that_over_the_variable(
    arguments: tuple[str, ...], variable: str, taken_port: int
) -> None:
    given = [each.format(taken=taken_port) for each in arguments]
    environment = {"PUBSUB_ADDR": variable.format(taken=taken_port)}
    with command("serve", *given, environment=environment) as program:
        assert json.loads(program.line())["listening"].startswith("ws://127.0.0.1:")


def test_without_a_host_it_listens_everywhere() -> None:
    with command("serve", ":0", "--events", "lines") as program:
        line = program.line()
        assert "(all interfaces)" in line
        port = int(re.findall(r":(\d+) ", line)[0])
        for host in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((host, port), timeout=30).close()


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_an_ipv6_address_stands_in_brackets() -> None:
    with command("serve", "[::1]:0") as program:
        assert json.loads(program.line())["listening"].startswith("ws://[::1]:")


def test_a_port_in_use_and_a_foreign_address_are_one_line_and_exit_code_2(taken_port: int) -> None:
    for address, cure in ((f"127.0.0.1:{taken_port}", "port"), ("192.0.2.1:0", "address of this machine")):
        finished = run_command("serve", address)
        assert (finished.code, finished.stdout) == (2, b"")
        assert finished.stderr.count("\n") == 1
        assert address in finished.stderr and cure in finished.stderr


# -- What it tells -------------------------------------------------------------------------------------------------


def test_events_are_json_lines_with_the_clients_id() -> None:
    with running_server() as server:
        run_command("pub", f"{server.url}/news", "hello", "--name", "bob")
        joined, left = (json.loads(server.program.line()) for _ in range(2))
        assert (joined["type"], left["type"], joined["subscriptionTopic"]) == (2, 1, "/news")
        assert joined["clientID"] == left["clientID"] and joined["clientID"].startswith("bob-")


def test_events_are_readable_lines_with_the_clients_id() -> None:
    with command("serve", "127.0.0.1:0", "--events", "lines") as program:
        url = re.findall(r"ws://[^;]*", program.line())[0]
        run_command("pub", f"{url}/news", "hello", "--name", "bob")
        assert re.fullmatch(r"\d\d:\d\d:\d\d PublisherJoined +/news  bob-[0-9a-f-]{36}", program.line())
        with closing(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 30)) as client:
            client.sendall(b"GET /odd HTTP/1.1\r\nHost: x\r\n\r\n")
            assert "BadHTTPHeaders          /odd  (no id)" in program.wait_line("BadHTTPHeaders")


def test_without_events_there_is_only_the_first_line() -> None:
    with command("serve", "127.0.0.1:0", "--events", "none") as program:
        url = re.findall(r"ws://[^;]*", program.line())[0]
        run_command("pub", f"{url}/news", "hello")
        program.signal(signal.SIGTERM)
        assert program.finish().stdout == b""


def test_events_that_nobody_reads_are_dropped_and_counted_while_it_serves_on() -> None:
    # Each event is 4,000 bytes long, so that a few dozen fill the pipe.
    request = b"GET /" + b"x" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    with running_server("--event-buffer", "10") as server:
        for _ in range(100):
            with closing(connect(server)) as client:
                client.sendall(request)
                assert client.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
        server.program.signal(signal.SIGTERM)
        lines = [json.loads(line) for line in server.program.finish().stdout.splitlines()]
    dropped = sum(line.get("dropped", 0) for line in lines)
    assert dropped > 0
    assert dropped + sum("type" in line for line in lines) == 100


async def test_dropped_events_are_counted_in_readable_lines_too() -> None:
    streams = EventStreams(limit=1)
    stream = streams.open()
    for topic in ("/first", "/dropped"):
        streams.put(Event(EventType.SUBSCRIBER_JOINED, "", topic))
    streams.close()
    reading, writing = os.pipe()
    try:
        with Output(writing) as output:
            await print_events(stream, output, as_json=False)
        lines = os.read(reading, 4096).decode().splitlines()
    finally:
        os.close(reading)
        os.close(writing)
    assert [line[9:] for line in lines] == ["(dropped: 1)", "SubscriberJoined        /first  (no id)"]


def test_it_serves_on_when_the_reader_of_its_events_has_gone() -> None:
    with running_server() as server:
        server.program.close_stdout()
        assert run_command("pub", f"{server.url}/news", "hello").code == 0
        assert run_command("check", server.url).code == 0
        assert stop(server) == 0


# -- How it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_after_everything_owed_is_delivered(number: signal.Signals) -> None:
    with running_server() as server, command("sub", "-v", f"{server.url}/news", "--format", "raw") as reader:
        reader.wait_line("subscribed", "stderr")
        message = "x" * (8 << 20)  # more than fits into both sockets' buffers
        assert run_command("pub", f"{server.url}/news", "--file", "-", input=message.encode()).code == 0
        server.program.signal(number)
        finished = reader.finish()
        assert finished.stdout.decode() == message
        assert finished.code == 1 and "1012" in finished.stderr
        ended = server.program.finish()
        assert ended.code == 0 and "another signal ends it at once" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    with running_server("--drain-seconds", "60", "--close-deadline", "60s") as server:
        with closing(connect(server)) as stuck:
            stuck.sendall(UPGRADE % b"stuck")
            assert stuck.recv(1 << 16).startswith(b"HTTP/1.1 101 ")
            server.program.signal(number)
            server.program.wait_line("another signal", "stderr")
            start = time.monotonic()
            server.program.signal(number)
            assert server.program.finish().code == 128 + number
            assert time.monotonic() - start < 30  # of the 60 that the drain would take


def test_rules_of_overflow_reach_the_server() -> None:
    """Where messages may be skipped, the 101 names no offset."""
    with running_server("--overflow", "/prices/*=latest", "--overflow", "/**=block") as server:
        for topic, offset in ((b"prices/eur", False), (b"prices", True)):
            with closing(connect(server)) as client:
                client.sendall(UPGRADE % topic)
                assert (b"\r\npubsub-offset: 1\r\n" in client.recv(1 << 16)) == offset


@pytest.mark.parametrize("seconds", ["-1", "1000000000000", "1000000000000000000000", "later"])
def test_a_time_to_drain_that_cannot_be_is_one_line_and_exit_code_2(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "127.0.0.1:0", "--drain-seconds", seconds]) == 2
    said = capsys.readouterr()
    assert "--drain-seconds" in said.err and "such as 5s" in said.err
    assert said.err.count("\n") == 1 and said.out == ""


def test_options_reach_the_server() -> None:
    with running_server("--max-message-bytes", "10") as server:
        finished = run_command("pub", f"{server.url}/news", "eleven bytes")
        assert finished.code == 1
        assert "1009" in finished.stderr and finished.stderr.count("\n") == 1

"""`fastpubsub bench`: what it prints, how it ends, and that it leaves no server behind. Real processes."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.falseserver import Door, false_server
from tests.support.processes import PATIENCE_SECONDS, Finished, Program, RunningServer, run_command, running_server

SMALL = ("bench", "-s", "20", "--duration", "0.2s")
ENDLESS = ("bench", "-s", "20", "--duration", "1000s", "--rate", "100")

NO_SUCH_PID = str(1 << 30)

LIMITED = """
import resource, sys
soft, hard = map(int, sys.argv.pop(1).split(","))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from pubsub.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


def objects(finished: Finished) -> list[dict[str, Any]]:
    """What it printed with --json."""
    assert (finished.code, finished.stderr) == (0, ""), finished
    return [json.loads(line) for line in finished.stdout.splitlines()]


def fault(*arguments: str, code: int) -> str:
    """The one line that says what went wrong."""
    finished = run_command("bench", *arguments)
    assert finished.code == code, finished
    assert finished.stderr.startswith("fastpubsub: ") and finished.stderr.count("\n") == 1, finished
    return finished.stderr


# -- Processes -----------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def watched(pid: int) -> Iterator[int]:
    """A descriptor that is readable once this process has ended."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def has_ended(pidfd: int, seconds: float = PATIENCE_SECONDS) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@contextmanager
def benching(*arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A bench in a process group of its own that has said what it runs on, and its server's pidfd."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pubsub", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout and process.stderr
    try:
        assert b"fastpubsub " in process.stdout.readline()
        assert b"its own server" in process.stdout.readline()
        (server,) = children(process.pid)
        with watched(server) as pidfd:
            yield process, pidfd
            assert has_ended(pidfd), "it left its server behind"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


# -- What it prints ------------------------------------------------------------------------------------------------


def test_without_a_pace_it_runs_twice_and_says_what_came_of_each() -> None:
    finished = run_command(*SMALL)
    assert (finished.code, finished.stderr) == (0, "")
    text = finished.stdout.decode()
    assert "\x1b" not in text and "\r" not in text
    machine, own, _, *blocks = text.split("\n")
    assert machine.startswith("fastpubsub ") and own.startswith("its own server")
    names = [line.split(":")[0] for line in blocks if line and line[0] != " "]
    assert names == ["paced", "unthrottled"]
    assert text.count("  intact       nothing lost") == 2
    assert text.count("  latency ") == 1
    assert "20 subscribers, 1 publisher, 128 bytes, 100 messages a second" in text


def test_json_is_an_object_a_line_with_the_plan_the_counts_and_the_servers_cost() -> None:
    paced, unthrottled = objects(run_command(*SMALL, "--json"))
    assert (paced["workload"], unthrottled["workload"]) == ("paced", "unthrottled")
    assert paced["published"] == 20 and paced["delivered"] == 400 and paced["latency"]["count"] == 400
    assert unthrottled["latency"] is None
    for run in (paced, unthrottled):
        assert run["intact"] is True
        assert run["plan"]["subscribers"] == 20 and run["plan"]["path"] == "/bench"
        assert run["server"]["memory_before"] > 0 and run["server_cpu_ns_per_delivery"] > 0
        assert run["delivered"] == 20 * run["published"]
        for name in ("lost", "duplicated", "reordered", "malformed", "departed"):
            assert run[name] == 0
    assert paced.keys() == unthrottled.keys()
    assert {"upgrades_per_second", "deliveries_per_second", "megabytes_per_second", "load_busy", "server_busy"} < set(
        paced
    )
    assert {"server_cpu_ns_per_upgrade", "server_bytes_per_connection", "load_was_the_bottleneck"} < set(paced)


def test_a_storm_only_connects(server: RunningServer) -> None:
    (run,) = objects(run_command("bench", "-s", "50", "--storm", "--json"))
    assert (run["workload"], run["connections"], run["published"]) == ("storm", 50, 0)
    assert run["upgrade"]["count"] == 50
    text = run_command("bench", server.url, "-s", "50", "--storm").stdout.decode()
    assert "storm: 50 connections" in text and "deliveries" not in text


def test_flags_make_the_plan(server: RunningServer) -> None:
    url = f"{server.url}/flags?a=b"
    flags = "-s 20 -p 4 -t 2 --size 16-4KiB --text --window 3 --messages 30 --stalled 2 --slow 10% --come-and-go 3"
    (run,) = objects(run_command("bench", url, *flags.split(), "--json"))
    plan = run["plan"]
    assert (plan["path"], plan["query"]) == ("/flags", "?a=b")
    assert (plan["subscribers"], plan["publishers"], plan["topics"]) == (20, 4, 2)
    assert (plan["stalled"], plan["slow"], plan["visitors"]) == (2, 2, 3)
    assert (plan["least_bytes"], plan["most_bytes"], plan["text"]) == (16, 4096, True)
    assert (plan["window"], plan["messages"], plan["seconds"]) == (3, 30, None)
    assert run["published"] == 120 and run["everybody"]["count"] == 120


def test_a_server_elsewhere_is_measured_from_outside_unless_its_process_is_named(server: RunningServer) -> None:
    flags = ("-s", "10", "--messages", "20", "--rate", "1000", "--json")
    (outside,) = objects(run_command("bench", f"{server.url}/elsewhere", *flags))
    assert outside["server"] is None and outside["server_busy"] is None
    (inside,) = objects(run_command("bench", f"{server.url}/named", *flags, "--pid", str(server.program.pid)))
    assert inside["server"]["resident_after"] > 0 and inside["server_busy"] > 0


def test_a_path_is_one_on_the_server_of_the_variable(server: RunningServer) -> None:
    environment = {"PUBSUB_ADDR": server.address}
    finished = run_command("bench", "/there", "-s", "3", "--messages", "3", "--unthrottled", environment=environment)
    assert finished.code == 0 and f"server at {server.url}/there".encode() in finished.stdout


def test_headers_are_sent_and_never_shown() -> None:
    found: list[bytes] = []

    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        found.extend((subscriber.head, publisher.head))
        subscriber.send(*publisher.read_messages(3))

    flags = ("-s", "1", "--messages", "3", "--unthrottled", "-H", "Authorization: Bearer s3cret", "-H", "host: there")
    for style in ((), ("--json",)):
        with false_server(script) as port:
            finished = run_command("bench", f"ws://127.0.0.1:{port}", *flags, *style)
        assert finished.code == 0
        assert b"s3cret" not in finished.stdout and "s3cret" not in finished.stderr
    assert len(found) == 4
    for head in found:
        assert b"\r\nAuthorization: Bearer s3cret\r\n" in head
        assert head.lower().count(b"\r\nhost: ") == 1 and b"\r\nhost: there\r\n" in head


def test_a_name_with_several_addresses_leads_to_where_somebody_listens(server: RunningServer) -> None:
    url = server.url.replace("127.0.0.1", "localhost")
    assert run_command("bench", f"{url}/name", "-s", "3", "--messages", "3", "--unthrottled").code == 0


# -- In a terminal -------------------------------------------------------------------------------------------------


def read_to_end(terminal: int) -> str:
    said = b""
    while True:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # EIO: nobody has the other side any more
            chunk = b""
        if not chunk:
            return said.decode()
        said += chunk


def test_in_a_terminal_a_line_shows_how_far_it_is_and_is_cleared() -> None:
    terminal, screen = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "pubsub", "bench", "-s", "20", "--duration", "0.5s", "--window", "2"],
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=screen,
            env=os.environ | {"COLUMNS": "100"},
        ) as process:
            os.close(screen)
            said = read_to_end(terminal)
    finally:
        os.close(terminal)
    assert process.returncode == 0
    live, _, after = said.rpartition("\r\x1b[K")
    assert "░" in live and "of 0.5 s" in live
    assert "\x1b[1mwindow\x1b[0m: 20 subscribers" in after and "░" not in after
    drawn = [part.split("\r\n")[0] for part in said.split("\r\x1b[K")[1:]]
    assert all(len(line) < 100 for line in drawn)


# -- How it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["the process alone", "its whole group"])
def test_ctrl_c_ends_it_quietly_with_130_and_its_server_with_it(whom: str) -> None:
    with benching(*ENDLESS) as (process, _):
        if whom == "the process alone":
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        said, complained = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, said.strip(), complained) == (130, b"", b"")


def test_ctrl_c_while_it_connects_ends_it_as_well() -> None:
    with benching("bench", "-s", "50", "--ramp-up", "1000s") as (process, _):
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, complained) == (130, b"")


def test_a_bench_that_is_killed_leaves_no_server_behind() -> None:
    with benching(*ENDLESS) as (process, server):
        process.kill()
        process.wait(PATIENCE_SECONDS)
        assert has_ended(server)


def test_when_its_reader_has_had_enough_it_ends_without_a_word() -> None:
    with Program("-m", "pubsub", *SMALL, "--json") as program:
        assert json.loads(program.line())["workload"] == "paced"
        program.close_stdout()
        finished = program.finish()
    assert (finished.code, finished.stderr) == (0, "")


def test_what_is_not_intact_is_exit_code_1() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        subscriber.send(*publisher.read_messages(3)[1:])
        subscriber.send_close(1008)
        subscriber.read_to_end()

    with false_server(script) as port:
        finished = run_command("bench", f"ws://127.0.0.1:{port}", "-s", "1", "--messages", "3", "--unthrottled")
    assert (finished.code, finished.stderr) == (1, "")
    verdict = finished.stdout.decode().splitlines()[-1]
    assert verdict.endswith(" 1 lost, 1 connections closed by the server (with 1008)") and "NOT INTACT" in verdict


def test_a_storm_that_loses_connections_says_so() -> None:
    def script(door: Door) -> None:
        (only,) = door.welcome(1)
        only.send_close(1013)
        only.read_to_end()

    with false_server(script) as port:
        finished = run_command("bench", f"ws://127.0.0.1:{port}", "-s", "1", "--storm")
    assert finished.code == 1
    assert b"NOT INTACT" in finished.stdout and b"1013" in finished.stdout


# -- What cannot be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "5", "--window", "3"), "--rate and --window exclude each other"),
        (("--storm", "--unthrottled"), "--unthrottled and --storm exclude each other"),
        (("--messages", "5", "--duration", "3s"), "--messages and --duration exclude each other"),
        (("-s", "-1"), "subscribers=-1"),
        (("-t", "3", "-p", "2"), "topics=3 is over publishers=2"),
        (("-s", "5", "--stalled", "80%", "--slow", "80%"), "slow=4 and stalled=4 are more than subscribers=5"),
        (("--stalled", "101%"), "--stalled"),
        (("--come-and-go", "x"), "--come-and-go"),
        (("--size", "9-5"), "most_bytes=5 is not within 9"),
        (("--size", "huge"), "--size"),
        (("--duration", "0s"), "seconds=0"),
        (("--pid", "1"), "--pid=1 goes with a URL"),
        (("wss://127.0.0.1:1/x",), "the load speaks no TLS; give the ws:// address"),
        (("http://127.0.0.1:1/x",), "is no WebSocket URL"),
        (("news",), "neither a URL nor a path"),
        (("ws://127.0.0.1:1", "--pid", NO_SUCH_PID), f"--pid={NO_SUCH_PID} is no process"),
        (("ws://127.0.0.1:1", "--serve", "--max-lag-bytes 5"), "is for the server that bench starts"),
        (("--serve", "'"), "cannot be split into flags"),
        (("-H", "nonsense"), "is no header"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    assert said in fault(*arguments, code=2)


def test_where_nobody_listens_is_one_line_and_exit_code_1() -> None:
    assert "cannot connect: Connection refused" in fault("ws://127.0.0.1:1", "-s", "3", code=1)
    assert "cannot find nowhere.invalid" in fault("ws://nowhere.invalid", "-s", "3", code=1)


def test_a_refusal_is_one_line_with_the_servers_words() -> None:
    def script(door: Door) -> None:
        door.welcome(3)
        door.accept().send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 18\r\n\r\nno publishers here")

    with false_server(script) as port:
        assert "403 Forbidden: no publishers here" in fault(f"ws://127.0.0.1:{port}", "-s", "3", code=1)


def test_flags_that_its_server_does_not_know_are_told_in_its_words() -> None:
    assert "the server did not start: No such option '--nonsense'" in fault("--serve", "--nonsense", code=1)


def test_it_raises_its_descriptor_limit_and_says_when_it_may_not() -> None:
    def run(limits: str) -> Finished:
        with Program("-c", LIMITED, limits, "bench", "-s", "100", "--messages", "3", "--unthrottled") as program:
            return program.finish()

    assert run("64,4096").code == 0
    finished = run("64,64")
    assert finished.code == 2
    assert (
        "101 connections need" in finished.stderr
        and "may have 64" in finished.stderr
        and "ulimit -n" in finished.stderr
    )

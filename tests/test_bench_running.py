"""One workload from its first connection to its end, and what its server's process costs."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastfan.load import Plan, Report
from pubsub.bench.cost import ServerProcess, readable
from pubsub.bench.outcome import Workload
from pubsub.bench.ownserver import own_server, pinned, pinning
from pubsub.bench.running import run_workload
from pubsub.errors import PubSubError
from tests.support.falseserver import Door, false_server
from tests.support.processes import run_command
from tests.support.server import server_process

NO_SUCH_PID = 1 << 30


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, int]]:
    """Pid and port."""
    with server_process() as process:
        yield process.pid, process.port


def workload(port: int, *, is_storm: bool = False, **asked: Any) -> Workload:
    given = {"port": port, "subscribers": 5, "publishers": 1} | ({} if "seconds" in asked else {"messages": 20}) | asked
    return Workload(name="trial", plan=Plan(**given), is_storm=is_storm, rest_seconds=0.01)


def interrupted(*_: object) -> None:
    """As Ctrl-C does it, from within the process."""
    os.kill(os.getpid(), signal.SIGINT)


# -- A workload ----------------------------------------------------------------------------------------------------


def test_what_came_of_it_and_what_it_cost(server: tuple[int, int]) -> None:
    outcome = run_workload(workload(server[1]), ServerProcess(server[0]))
    assert outcome.is_intact and outcome.report.delivered == 100
    assert outcome.server is not None
    # So little work may lie within one tick of the kernel (see cost.py): that there is any shows in the next test.
    assert outcome.server.connect_cpu_seconds >= 0 and outcome.server.publish_cpu_seconds >= 0
    assert outcome.server.memory_before > 0 and outcome.server.resident_after > outcome.server.memory_after


def test_what_much_work_costs_is_seen(server: tuple[int, int]) -> None:
    outcome = run_workload(workload(server[1], messages=20_000), ServerProcess(server[0]))
    assert outcome.is_intact and outcome.server is not None
    assert outcome.server.connect_cpu_seconds + outcome.server.publish_cpu_seconds > 0


def test_a_storm_publishes_nothing(server: tuple[int, int]) -> None:
    outcome = run_workload(workload(server[1], is_storm=True), None)
    assert (outcome.report.connections, outcome.report.published, outcome.server) == (6, 0, None)


def test_it_is_watched_while_it_goes_on(server: tuple[int, int]) -> None:
    seen: list[Report] = []
    run_workload(workload(server[1], seconds=0.5, rate=100.0), None, lambda _, report: seen.append(report))
    assert seen and all(report.published <= 50 for report in seen)


def test_a_server_that_is_not_there_is_an_error_of_ours(server: tuple[int, int]) -> None:
    with pytest.raises(PubSubError, match="Connection refused"):
        run_workload(workload(1), None)
    with pytest.raises(PubSubError, match="No such"):
        run_workload(workload(server[1]), ServerProcess(NO_SUCH_PID))


@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupt_ends_it_and_so_do_several(server: tuple[int, int], times: int) -> None:
    def press(*ignored: object) -> None:
        for _ in range(times):
            interrupted()

    with pytest.raises(KeyboardInterrupt):
        run_workload(workload(server[1], seconds=1000.0), None, press)


def test_an_interrupt_while_it_is_started_ends_it_too(server: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupting(thread: threading.Thread) -> None:
        interrupted()
        start(thread)
        interrupted()

    monkeypatch.setattr(threading.Thread, "start", interrupting)
    with pytest.raises(KeyboardInterrupt):
        run_workload(workload(server[1], seconds=1000.0), None)


def test_what_the_watch_raises_ends_it(server: tuple[int, int]) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_workload(workload(server[1], seconds=1000.0), None, broken)


def test_a_refused_connection_is_told_in_the_servers_words() -> None:
    def script(door: Door) -> None:
        door.accept().send(b"HTTP/1.1 503 Full\r\n\r\ncome back later")

    with false_server(script) as port, pytest.raises(PubSubError, match="503 Full: come back later"):
        run_workload(workload(port, connecting=1), None)


# -- Its server ----------------------------------------------------------------------------------------------------


def test_its_own_server_runs_until_it_is_no_longer_needed() -> None:
    with own_server(["--max-message-bytes", "1000"], None) as (pid, port):
        assert readable(pid)
        assert run_command("check", f"ws://127.0.0.1:{port}").code == 0
    assert not readable(pid)


def test_what_is_pinned_is_so_only_for_a_while() -> None:
    before = os.sched_getaffinity(0)
    with pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    with pinned(None):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_one_cpu_is_not_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, expected in (({3}, None), ({1, 2, 7}, (1, 7))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cpus=cpus: cpus)
        assert pinning() == expected


# -- What a process costs ------------------------------------------------------------------------------------------


def test_a_process_has_cpu_memory_and_time_that_it_waited() -> None:
    own = ServerProcess(os.getpid())
    before = own.cpu_seconds()
    sum(range(1_000_000))
    assert own.cpu_seconds() > before > 0
    memory = own.memory()
    assert 0 < memory.own <= memory.resident
    assert 0 < memory.proportional <= memory.resident
    assert own.waited_seconds() >= 0


def test_children_are_counted_with_their_parent(server: tuple[int, int]) -> None:
    assert ServerProcess(os.getpid()).memory().resident > ServerProcess(server[0]).memory().resident


@pytest.mark.parametrize("pid", [NO_SUCH_PID, 0, -1])
def test_a_process_that_is_not_there_is_not_readable(pid: int) -> None:
    assert not readable(pid)

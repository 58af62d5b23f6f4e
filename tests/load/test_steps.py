"""Steps from several threads, out of order and after the end; stop() in each; loads that nobody closes."""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastfan.errors import MisuseError
from fastfan.load import Load, LoadStopped, Report, Step
from tests.support.falseserver import Door, false_server, server_frame, small_plan
from tests.support.rawclient import PATIENCE, PING
from tests.support.server import ServerProcess, server_process
from tests.support.sockets import descriptors_unchanged

Verb = Callable[[Load], None]


def connect(load: Load) -> None:
    load.connect()


def rest(load: Load) -> None:
    load.rest(1000.0)


def publish(load: Load) -> None:
    load.publish()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with server_process() as process:
        yield process


class Beside:
    """A step in a thread of its own; what it raised, if it did."""

    def __init__(self, load: Load, step: Verb) -> None:
        self.raised: list[BaseException] = []
        self._load = load
        self._step = step
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Beside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._load.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "stop() did not end the step"

    def _run(self) -> None:
        try:
            self._step(self._load)
        except BaseException as error:
            self.raised.append(error)

    @property
    def is_going_on(self) -> bool:
        return self._thread.is_alive()


def wait_report(load: Load, holds: Callable[[Report], bool]) -> Report:
    """The first report of which this holds; a step renews it every 50 ms."""
    ended = threading.Event()
    while not holds(report := load.report()):
        ended.wait(0.001)
    return report


# -- stop() --------------------------------------------------------------------------------------------------------


def test_stop_ends_connecting_and_the_report_is_still_there() -> None:
    asked = threading.Event()

    def script(door: Door) -> None:
        caller = door.accept()
        asked.set()
        caller.read_to_end()

    with false_server(script) as port, Load(small_plan(port, connecting=1)) as load:
        with Beside(load, connect) as step:
            assert asked.wait(PATIENCE)
        assert [type(error) for error in step.raised] == [LoadStopped]
        assert load.report().step is Step.CONNECTING


def test_stop_ends_a_rest(server: ServerProcess) -> None:
    with Load(small_plan(server.port)) as load:
        load.connect()
        with Beside(load, rest) as step:
            wait_report(load, lambda report: report.step is Step.RESTING)
        assert [type(error) for error in step.raised] == [LoadStopped]
        assert load.report().connections == 2


@pytest.mark.parametrize(
    "pace", [{}, {"rate": 1000.0}, {"window": 4}, {"rate": 0.002}], ids=["unthrottled", "paced", "window", "seldom"]
)
def test_stop_ends_publishing_and_what_was_done_is_in_the_report(server: ServerProcess, pace: dict[str, Any]) -> None:
    # A topic of its own: what a load leaves behind when it is stopped still goes to whoever is there.
    path = "/" + "-".join(pace)
    plan = small_plan(server.port, path=path, seconds=1000.0, subscribers=4, stalled=1, **pace)
    with Load(plan) as load:
        load.connect()
        with Beside(load, publish) as step:
            wait_report(load, lambda report: report.delivered > 0)
        assert [type(error) for error in step.raised] == [LoadStopped]
        report = load.report()
        assert (report.step, report.connections) == (Step.PUBLISHING, 5)
        assert report.published > 0 and report.publish_wall_seconds > 0
        assert report.duplicated == report.reordered == report.malformed == 0


def test_stop_before_a_step_ends_it_at_once(server: ServerProcess) -> None:
    with Load(small_plan(server.port)) as load:
        load.stop()
        with pytest.raises(LoadStopped):
            load.connect()
        for step in (rest, publish):
            with pytest.raises(LoadStopped):
                step(load)


# -- Misuse --------------------------------------------------------------------------------------------------------


def test_one_thread_at_a_time_is_in_a_step(server: ServerProcess) -> None:
    with Load(small_plan(server.port)) as load:
        load.connect()
        with Beside(load, rest) as step:
            wait_report(load, lambda report: report.step is Step.RESTING)
            for other in (connect, rest, publish, Load.close):
                with pytest.raises(MisuseError, match="another thread is in a step"):
                    other(load)
            assert step.is_going_on


def test_steps_come_in_their_order(server: ServerProcess) -> None:
    with Load(small_plan(server.port)) as load:
        for early in (rest, publish):
            with pytest.raises(MisuseError, match=r"call connect\(\) first"):
                early(load)
        load.connect()
        with pytest.raises(MisuseError, match=r"connect\(\) was called before"):
            load.connect()
        load.publish()
        with pytest.raises(MisuseError, match=r"publish\(\) was called before"):
            load.publish()
        load.rest(0)
        with pytest.raises(MisuseError, match=r"publish\(\) was called before"):
            load.publish()
        assert load.report().is_intact


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1.1e6])
def test_a_rest_has_a_length(server: ServerProcess, seconds: float) -> None:
    with Load(small_plan(server.port)) as load:
        load.connect()
        with pytest.raises(MisuseError, match="is not within 0 and 1000000"):
            load.rest(seconds)


def test_after_the_end_there_are_no_steps_and_the_report_remains(server: ServerProcess) -> None:
    with Load(small_plan(server.port)) as load:
        load.connect()
        load.publish()
    load.close()
    for step in (connect, rest, publish):
        with pytest.raises(MisuseError, match="the load is closed"):
            step(load)
    load.stop()
    assert load.report().delivered == 10


def test_a_load_that_never_connected_closes(server: ServerProcess) -> None:
    with Load(small_plan(server.port)) as load:
        pass
    assert load.report().step is Step.CLOSED


# -- Ownership -----------------------------------------------------------------------------------------------------


def test_a_load_that_nobody_closed_leaves_no_descriptors(server: ServerProcess) -> None:
    with descriptors_unchanged():
        load = Load(small_plan(server.port, subscribers=5))
        load.connect()
        del load
        gc.collect()


def test_a_load_lives_as_long_as_its_step(server: ServerProcess) -> None:
    done = threading.Event()

    def run(loads: list[Load]) -> None:
        load = loads.pop()
        load.connect()
        load.rest(0.05)
        load.close()
        done.set()

    loads = [Load(small_plan(server.port))]
    thread = threading.Thread(target=run, args=(loads,))
    thread.start()
    assert done.wait(PATIENCE)
    thread.join()


def test_a_plan_may_be_forgotten_by_its_maker(server: ServerProcess) -> None:
    load = Load(small_plan(server.port, path="/" + "x" * 500, query="?" + "y" * 500))
    gc.collect()
    with load:
        load.connect()
        load.publish()
        assert load.report().is_intact
        assert load.plan.path == "/" + "x" * 500


# -- report() meanwhile --------------------------------------------------------------------------------------------


def test_reports_from_other_threads_are_whole_and_never_go_back(server: ServerProcess) -> None:
    ended = threading.Event()
    faults: list[str] = []

    def look() -> None:
        before = load.report()
        while not ended.is_set():
            report = load.report()
            if (report.step, report.delivered, report.published) < (before.step, before.delivered, before.published):
                faults.append(f"{report} after {before}")
            if report.latency.count != report.delivered:
                faults.append(f"{report.latency.count} times of {report.delivered} deliveries")
            before = report

    with Load(small_plan(server.port, subscribers=10, window=20, seconds=0.4)) as load:
        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            load.connect()
            load.rest(0.05)
            load.publish()
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert not faults, faults[0]
        assert load.report().is_intact


def test_a_report_during_a_step_shows_what_has_come_so_far() -> None:
    seen = threading.Event()

    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        messages = publisher.read_messages(10)
        subscriber.send(*messages[:5])
        while not seen.is_set():  # each turn of the load may renew its report
            subscriber.send(server_frame(b"", PING))
            subscriber.read_pong()
        subscriber.send(*messages[5:])

    with false_server(script) as port, Load(small_plan(port)) as load:
        load.connect()
        with Beside(load, publish) as step:
            report = wait_report(load, lambda report: report.delivered == 5)
            seen.set()
            assert (report.step, report.published, report.lost) == (Step.PUBLISHING, 10, 0)
            wait_report(load, lambda report: report.delivered == 10)
            while step.is_going_on:
                pass
        assert not step.raised

"""What `fastpubsub bench` makes of an order and of a report: workloads, outcomes, and the words for them."""

import io
import json
from typing import Any

import pytest

from fastfan.load import Step
from pubsub.bench.outcome import Outcome, Workload
from pubsub.bench.screen import LiveLine, block, seconds_to_text, size_to_text
from pubsub.bench.workloads import workloads
from tests.support.outcomes import NONE, SOME, cost, outcome, plan, report


def lines(shown: Outcome) -> dict[str, str]:
    """The lines of a block by their labels."""
    _, *rest = block(shown)
    return {line[2:14].strip(): line[15:] for line in rest}


# -- Workloads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "flags", "names"),
    [
        ({}, {}, ["paced", "unthrottled"]),
        ({"rate": 5.0}, {}, ["paced"]),
        ({"window": 5}, {}, ["window"]),
        ({}, {"unthrottled": True}, ["unthrottled"]),
        ({}, {"storm": True}, ["storm"]),
    ],
)
def test_a_pace_is_one_run_and_none_are_two(asked: dict[str, Any], flags: dict[str, bool], names: list[str]) -> None:
    assert [workload.name for workload in workloads(plan(**asked), **flags)] == names


def test_a_storm_has_no_publishers() -> None:
    (storm,) = workloads(plan(publishers=3, topics=3), storm=True)
    assert storm.is_storm and (storm.plan.publishers, storm.plan.topics) == (0, 1)


# -- Outcomes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["lost", "duplicated", "reordered", "malformed", "departed"])
def test_one_fault_of_any_kind_is_not_intact_and_is_told(what: str) -> None:
    counts: dict[str, Any] = {what: 1}
    shown = outcome(**counts, fault="a message of another topic" if what == "malformed" else "")
    assert not shown.is_intact
    assert "NOT INTACT" in lines(shown) and "intact" not in lines(shown)
    assert lines(shown)["NOT INTACT"].count("1 ") == 1
    assert outcome().is_intact and "intact" in lines(outcome())


def test_a_storm_that_lost_somebody_says_so() -> None:
    shown = outcome(is_storm=True, departed=2, close_code=1013)
    assert "2 connections closed by the server (with 1013)" in lines(shown)["NOT INTACT"]
    assert lines(outcome(is_storm=True)).keys() == {"upgrades"}


def test_costs_are_shared_among_what_was_done() -> None:
    server = cost(connect_cpu_seconds=0.5, publish_cpu_seconds=2.0, memory_before=1000, memory_idle=51_000)
    shown = outcome(server, delivered=4000, published=10, connections=100, publish_wall_seconds=4.0)
    assert shown.server_cpu_ns == 500_000
    assert shown.upgrade_cpu_ns == 500_000
    assert shown.connection_bytes == 500
    assert shown.server_busy == 0.5


def test_where_nothing_was_done_there_is_no_share() -> None:
    shown = outcome(cost(publish_cpu_seconds=1.0), upgrade=NONE)
    assert shown.server_cpu_ns is shown.upgrade_cpu_ns is shown.connection_bytes is shown.server_busy is None
    assert lines(shown)["deliveries"].startswith("\x1b[1m0 a second")
    json.loads(shown.to_json())


def test_json_has_no_headers_and_null_for_what_was_not_measured() -> None:
    workload = Workload(name="trial", plan=plan(headers=(("Authorization", "s3cret"),)))
    text = Outcome(workload=workload, report=report(latency=SOME), server=None).to_json()
    assert "s3cret" not in text and "\n" not in text
    said = json.loads(text)
    assert said["latency"]["p99_ns"] == SOME.p99_ns
    assert said["everybody"] is said["server"] is said["server_busy"] is said["close_code"] is None
    assert said["intact"] is True and "step" not in said


# -- In words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (3e-9, "3 ns"), (1e-6, "1 us"), (0.00123, "1.23 ms"), (1, "1 s"), (12.34, "12.3 s"), (0.5, "500 ms")],
)
def test_times_have_three_digits_and_a_unit(seconds: float, text: str) -> None:
    assert seconds_to_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (5 << 20, "5 MiB"), (3 << 30, "3 GiB")],
)
def test_sizes_have_binary_units(size: float, text: str) -> None:
    assert size_to_text(size) == text


def test_a_load_that_had_no_time_left_is_told() -> None:
    busy = outcome(publish_cpu_seconds=0.98, publish_wall_seconds=1.0)
    assert busy.load_was_the_bottleneck and "it was the bottleneck" in lines(busy)["load"]
    idle = outcome(publish_cpu_seconds=0.5, publish_wall_seconds=1.0)
    assert not idle.load_was_the_bottleneck and "bottleneck" not in lines(idle)["load"]


# -- The live line -------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_line_is_for_terminals_only() -> None:
    pipe = io.StringIO()
    line = LiveLine(pipe)
    line.show(Workload(name="trial", plan=plan()), report())
    line.clear()
    assert pipe.getvalue() == ""


@pytest.mark.parametrize(
    ("asked", "counts", "said"),
    [
        ({}, {"step": Step.NEW}, "0 of 1,001 connected"),
        ({}, {"step": Step.CONNECTING, "connections": 500}, "500 of 1,001 connected"),
        ({}, {"step": Step.RESTING}, "waiting a moment"),
        ({}, {}, "of 2 s, 0 deliveries a second"),
        ({"seconds": None, "messages": 10}, {"published": 5}, "5 of 10 messages"),
        ({"window": 1}, {"latency": SOME}, "p50 1.5 ms, p99 3 ms"),
        ({"subscribers": 0, "publishers": 0}, {"step": Step.CONNECTING}, "0 of 0 connected"),
        ({"publishers": 0, "seconds": None, "messages": 1}, {}, "0 of 0 messages"),
    ],
)
def test_the_live_line_says_how_far_each_step_is(asked: dict[str, Any], counts: dict[str, Any], said: str) -> None:
    terminal = Terminal()
    line = LiveLine(terminal)
    line.show(Workload(name="trial", plan=plan(**asked)), report(**counts))
    assert said in terminal.getvalue() and "\n" not in terminal.getvalue()
    line.clear()
    line.clear()
    assert terminal.getvalue().endswith("\r\x1b[K") and terminal.getvalue().count("\r") == 2

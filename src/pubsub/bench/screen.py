"""How people see a load: one live line in a terminal while it runs, and a block of lines after it."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final, TextIO

import click

from fastfan.load import Percentiles, Plan, Report, Step
from pubsub import __version__
from pubsub.bench.outcome import BUSY, Outcome, Workload

__all__ = ["LiveLine", "block", "machine", "seconds_to_text", "size_to_text"]

_BAR_CELLS: Final = 20


# -- Units ------------------------------------------------------------------------------------------------------------


def seconds_to_text(seconds: float) -> str:
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns" if seconds else "0"


def size_to_text(size: float) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


def _count(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def _rate(per_second: float) -> str:
    return f"{per_second / 1e6:,.1f} million" if per_second >= 1e7 else f"{per_second:,.0f}"


# -- While it runs ----------------------------------------------------------------------------------------------------


class LiveLine:
    """The state of things on one line, drawn over and over; silent where `stream` is no terminal."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._shown = stream.isatty()
        self._drawn = False
        self._began: tuple[Step, float] = (Step.NEW, 0.0)

    def show(self, workload: Workload, report: Report) -> None:
        if not self._shown:
            return
        if self._began[0] is not report.step:
            self._began = (report.step, time.monotonic())
        share, text = _state(workload, report, time.monotonic() - self._began[1])
        done = round(max(0.0, min(1.0, share)) * _BAR_CELLS)
        line = f"{workload.name:<12} {'█' * done}{'░' * (_BAR_CELLS - done)} {text}"
        self._write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
        self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _state(workload: Workload, report: Report, seconds: float) -> tuple[float, str]:
    """How much of the present step is done, 0 to 1, and the words for it."""
    plan = workload.plan
    if report.step in (Step.NEW, Step.CONNECTING):
        return report.connections / (plan.connections or 1), f"{report.connections:,} of {plan.connections:,} connected"
    if report.step is Step.RESTING:
        return 0.0, "waiting a moment"
    if plan.messages:
        share = report.published / (plan.messages * plan.publishers or 1)
        place = f"{report.published:,} of {plan.messages * plan.publishers:,} messages"
    else:
        share = seconds / (plan.seconds or 1)
        place = f"{min(seconds, plan.seconds or 0):.1f} of {plan.seconds:g} s"
    if report.latency.count:
        now = f"p50 {seconds_to_text(report.latency.p50_ns / 1e9)}, p99 {seconds_to_text(report.latency.p99_ns / 1e9)}"
    else:
        now = f"{_rate(report.delivered / seconds if seconds else 0)} deliveries a second"
    return share, f"{place}, {now}"


# -- After it ---------------------------------------------------------------------------------------------------------


def machine() -> str:
    """What figures of another machine do not compare with."""
    return (
        f"fastpubsub {__version__} on {platform.python_implementation()} {platform.python_version()}, "
        f"wsproto {version('wsproto')}, {platform.system()} {platform.release()}, {_cpu()} ({os.cpu_count()} CPUs)"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def block(outcome: Outcome) -> Iterator[str]:
    """Everything that came of a workload, a line each."""
    yield click.style(outcome.workload.name, bold=True) + ": " + _plan_to_text(outcome.workload)
    for label, text in (*_upgrade_lines(outcome), *_publish_lines(outcome)):
        yield f"  {label:<12} {text}"


def _plan_to_text(workload: Workload) -> str:
    plan = workload.plan
    if workload.is_storm:
        return f"{_count(plan.connections, 'connection')}, {plan.connecting} under way at a time"
    parts = [_subscribers_to_text(plan), _count(plan.publishers, "publisher")]
    if plan.topics > 1:
        parts.append(_count(plan.topics, "topic"))
    least = "" if plan.least_bytes == plan.most_bytes else f"{plan.least_bytes:,} to "
    parts.append(f"{least}{_count(plan.most_bytes, 'byte')}" + (" of text" if plan.text else ""))
    if plan.rate:
        parts.append(f"{plan.rate:,g} messages a second")
    if plan.window:
        parts.append(f"{_count(plan.window, 'message')} on the way")
    return ", ".join(parts)


def _subscribers_to_text(plan: Plan) -> str:
    kinds = {"come and go": plan.visitors, "read slowly": plan.slow, "never read": plan.stalled}
    odd = ", ".join(f"{count:,} {what}" for what, count in kinds.items() if count)
    return _count(plan.subscribers, "subscriber") + (f" ({odd})" if odd else "")


def _upgrade_lines(outcome: Outcome) -> Iterator[tuple[str, str]]:
    report = outcome.report
    cost = f", {seconds_to_text(outcome.upgrade_cpu_ns / 1e9)} of server CPU each" if outcome.upgrade_cpu_ns else ""
    yield (
        "upgrades",
        f"{_rate(report.upgrades_per_second)} a second, p50 {seconds_to_text(report.upgrade.p50_ns / 1e9)}, "
        f"p99 {seconds_to_text(report.upgrade.p99_ns / 1e9)}{cost}",
    )
    if outcome.connection_bytes is not None:
        yield "memory", f"{size_to_text(outcome.connection_bytes)} of the server's for each idle connection"


def _publish_lines(outcome: Outcome) -> Iterator[tuple[str, str]]:
    report = outcome.report
    if outcome.workload.is_storm:
        if not outcome.is_intact:
            yield _verdict(report)
        return
    yield (
        "deliveries",
        click.style(f"{_rate(report.deliveries_per_second)} a second", bold=True)
        + f", {report.delivered_bytes / 1e6 / (report.publish_seconds or 1):,.1f} MB/s: {report.delivered:,} "
        f"of {_count(report.published, 'message')} in {seconds_to_text(report.publish_seconds)}",
    )
    if report.latency.count:
        yield "latency", _times_to_text(report.latency)
    if report.everybody.count:
        yield "to the last", _times_to_text(report.everybody)
    yield from _guest_lines(outcome)
    yield from _cost_lines(outcome)
    yield _verdict(report)


def _times_to_text(times: Percentiles) -> str:
    values = (times.p50_ns, times.p90_ns, times.p99_ns, times.p999_ns, times.max_ns)
    named = zip(("p50", "p90", "p99", "p99.9", "max"), values, strict=True)
    return ", ".join(f"{name} {seconds_to_text(value / 1e9)}" for name, value in named)


def _guest_lines(outcome: Outcome) -> Iterator[tuple[str, str]]:
    report, plan = outcome.report, outcome.workload.plan
    if plan.visitors:
        yield "come and go", f"{_count(report.visits, 'visit')}, {report.failed_visits:,} failed"
    if plan.slow:
        yield (
            "slow",
            f"{report.slow_received:,} received, {report.slow_missed:,} left out, {report.slow_departed:,} closed",
        )
    if plan.stalled:
        yield "stalled", f"{report.stalled_departed} of {plan.stalled} closed by the server"


def _cost_lines(outcome: Outcome) -> Iterator[tuple[str, str]]:
    report, server = outcome.report, outcome.server
    if server and outcome.server_busy is not None and outcome.server_cpu_ns is not None:
        waited = server.publish_waited_seconds / (report.publish_wall_seconds or 1)
        yield (
            "server",
            f"{seconds_to_text(outcome.server_cpu_ns / 1e9)} of CPU a delivery, "
            f"{100 * outcome.server_busy:.0f} % busy, {size_to_text(server.resident_after)} resident"
            + (f"; waited for a CPU {100 * waited:.0f} % of the time" if waited > 1 - BUSY else ""),
        )
    load = seconds_to_text(report.publish_cpu_seconds / (report.delivered or report.published or 1))
    bottleneck = outcome.load_was_the_bottleneck
    yield (
        "load",
        f"{load} of CPU a delivery, {100 * report.busy:.0f} % busy"
        + click.style(": it was the bottleneck, the server could do more" if bottleneck else "", fg="yellow"),
    )


def _verdict(report: Report) -> tuple[str, str]:
    if report.is_intact:
        return "intact", "nothing lost, duplicated or reordered"
    counts = {
        "lost": report.lost,
        "duplicated": report.duplicated,
        "reordered": report.reordered,
        "malformed": report.malformed,
        "connections closed by the server": report.departed,
    }
    text = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    code = f" (with {report.close_code})" if report.close_code else ""
    fault = f"; first: {report.fault}" if report.fault else ""
    return "NOT INTACT", click.style(text + code + fault, fg="red", bold=True)

"""The figures that several benchmarks show."""

from collections.abc import Callable
from typing import Final

from benchmarks.pairing import Column
from pubsub.bench.outcome import Outcome

__all__ = [
    "ANY_RATE",
    "CPU_EACH",
    "EVERYBODY",
    "LATENCY",
    "MEGABYTES",
    "MEMORY",
    "MOVED_P99",
    "RATE",
    "SIDES",
    "UPGRADES",
]


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


def _waited(outcome: Outcome) -> float | None:
    seconds = outcome.report.publish_wall_seconds
    return _percent(outcome.server.publish_waited_seconds / seconds) if outcome.server and seconds else None


def _connect_share(outcome: Outcome, cpu_seconds: float) -> float | None:
    seconds = outcome.report.connect_seconds
    return 100 * cpu_seconds / seconds if seconds else None


def _mib(field: str) -> Callable[[Outcome], float | None]:
    return lambda outcome: getattr(outcome.server, field) / (1 << 20) if outcome.server else None


def _latency_us(field: str) -> Callable[[Outcome], float | None]:
    """None of an unthrottled run, in which no message is due at any time."""
    return lambda outcome: getattr(outcome.report.latency, field) / 1e3 if outcome.report.latency.count else None


def _us(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e3


RATE: Final = Column(
    head="deliveries/s", value=lambda outcome: outcome.report.deliveries_per_second, paired=True, of_busy_runs=True
)
# Of runs in which the load was as busy too: what the two did together.
ANY_RATE: Final = Column(head="deliveries/s", value=lambda outcome: outcome.report.deliveries_per_second, paired=True)
MEGABYTES: Final = Column(
    head="MB/s",
    value=lambda outcome: outcome.report.delivered_bytes / 1e6 / (outcome.report.publish_seconds or 1),
    paired=True,
)
CPU_EACH: Final = Column(head="CPU ns each", value=lambda outcome: outcome.server_cpu_ns, form=",.1f", paired=True)
LATENCY: Final = (
    Column(head="p50 us", value=_latency_us("p50_ns"), paired=True),
    Column(head="p99 us", value=_latency_us("p99_ns"), paired=True),
    Column(head="max us", value=_latency_us("max_ns")),
)
MOVED_P99: Final = Column(head="p99 us", value=_latency_us("p99_ns"), moved=True)
EVERYBODY: Final = Column(
    head="to the last, ms", value=lambda outcome: outcome.report.everybody.p50_ns / 1e6, form=",.2f", paired=True
)
# Both sides' load, so that nobody has to believe which of them was measured.
SIDES: Final = (
    Column(head="seconds", value=lambda outcome: outcome.report.publish_seconds, form=".2f", spread=False),
    Column(head="server busy %", value=lambda outcome: _percent(outcome.server_busy), spread=False),
    Column(head="no CPU %", value=_waited, spread=False),
    Column(head="load busy %", value=lambda outcome: _percent(outcome.report.busy), spread=False),
    Column(head="RSS MiB", value=_mib("resident_after"), form=".1f", spread=False),
)
UPGRADES: Final = (
    Column(head="upgrades/s", value=lambda outcome: outcome.report.upgrades_per_second, paired=True),
    Column(head="CPU us each", value=lambda outcome: _us(outcome.upgrade_cpu_ns), form=",.1f", paired=True),
    Column(head="p99 ms", value=lambda outcome: outcome.report.upgrade.p99_ns / 1e6, form=",.1f"),
    Column(
        head="server busy %",
        value=lambda outcome: _connect_share(outcome, outcome.server.connect_cpu_seconds) if outcome.server else None,
        spread=False,
    ),
    Column(
        head="load busy %",
        value=lambda outcome: _connect_share(outcome, outcome.report.connect_cpu_seconds),
        spread=False,
    ),
)
MEMORY: Final = (
    Column(
        head="KiB each",
        value=lambda outcome: None if outcome.connection_bytes is None else outcome.connection_bytes / 1024,
        form=".2f",
        paired=True,
    ),
    Column(head="MiB before", value=_mib("memory_before"), form=".1f"),
    Column(head="MiB idle", value=_mib("memory_idle"), form=".1f"),
)

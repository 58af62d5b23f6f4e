"""Outcomes of workloads that were never run."""

import dataclasses
from typing import Any

from fastfan.load import Percentiles, Plan, Report, Step
from pubsub.bench.outcome import Outcome, ServerCost, Workload

__all__ = ["NONE", "SOME", "cost", "outcome", "plan", "report"]

NONE = Percentiles(0, 0, 0, 0, 0, 0)
SOME = Percentiles(1000, 1_500_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000)


def plan(**asked: Any) -> Plan:
    return Plan(**({"seconds": 2.0} | asked))


def report(**counts: Any) -> Report:
    numbers = {field.name: 0 for field in dataclasses.fields(Report)}
    fixed = {
        "step": Step.PUBLISHING,
        "close_code": None,
        "fault": "",
        "upgrade": SOME,
        "latency": NONE,
        "everybody": NONE,
    }
    return Report(**(numbers | fixed | counts))


def outcome(server: ServerCost | None = None, *, is_storm: bool = False, **counts: Any) -> Outcome:
    workload = Workload(name="trial", plan=plan(), is_storm=is_storm)
    return Outcome(workload=workload, report=report(**counts), server=server)


def cost(**figures: float) -> ServerCost:
    names = [field.name for field in dataclasses.fields(ServerCost)]
    return ServerCost(**(dict.fromkeys(names, 0) | figures))  # type: ignore[arg-type]

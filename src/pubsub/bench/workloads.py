"""From what was asked for to the workloads that are run."""

from dataclasses import replace
from typing import Final

from fastfan.load import Plan
from pubsub.bench.outcome import Workload

__all__ = ["PACED_RATE", "workloads"]

# Without a pace of its own a bench is two runs: at this rate nearly every installation has time to spare, so the first
# shows latency; the second shows what it can do.
PACED_RATE: Final = 100.0

_STORM: Final = Workload(name="storm", plan=Plan(seconds=1), is_storm=True)


def workloads(plan: Plan, *, storm: bool = False, unthrottled: bool = False) -> list[Workload]:
    """One for a plan with a rate or a window, or that is to be unthrottled; else a paced and an unthrottled one."""
    if storm:
        return [replace(_STORM, plan=replace(plan, publishers=0, topics=1))]
    if plan.rate:
        return [Workload(name="paced", plan=plan)]
    if plan.window:
        return [Workload(name="window", plan=plan)]
    flood = Workload(name="unthrottled", plan=plan)
    if unthrottled:
        return [flood]
    return [Workload(name="paced", plan=replace(plan, rate=PACED_RATE)), flood]

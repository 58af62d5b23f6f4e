"""What came of one workload: what the load saw, and what it cost the server."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final

from fastfan.load import Percentiles, Plan, Report

__all__ = ["Outcome", "ServerCost", "Workload"]

# From here on a side had no time left: a rate says something of the server only when the server had none.
BUSY: Final = 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A plan with a name for people. A storm is over when all connections are open."""

    name: str
    plan: Plan
    is_storm: bool = False
    # Between the last upgrade and the first message: then what upgrades left behind is done, and memory is idle.
    rest_seconds: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCost:
    """Of the server's process and its children."""

    connect_cpu_seconds: float
    publish_cpu_seconds: float
    publish_waited_seconds: float  # ready to run, and without a CPU
    memory_before: int  # bytes of its own, user space: before the first connection of this workload,
    memory_idle: int  # with all of them open and nothing published,
    memory_after: int  # and after publishing, with all of them still open
    resident_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    workload: Workload
    report: Report
    server: ServerCost | None  # of a server elsewhere nothing is known

    @property
    def is_intact(self) -> bool:
        return self.report.is_intact

    @property
    def server_busy(self) -> float | None:
        """0 to 1, and more with several threads."""
        seconds = self.report.publish_wall_seconds
        return self.server.publish_cpu_seconds / seconds if self.server and seconds else None

    @property
    def server_cpu_ns(self) -> float | None:
        """For each delivery; for each message where nobody subscribes."""
        count = self.report.delivered or self.report.published
        return self.server.publish_cpu_seconds * 1e9 / count if self.server and count else None

    @property
    def upgrade_cpu_ns(self) -> float | None:
        count = self.report.upgrade.count
        return self.server.connect_cpu_seconds * 1e9 / count if self.server and count else None

    @property
    def connection_bytes(self) -> float | None:
        """Of the server's memory in user space, for each idle connection."""
        if self.server is None or not self.report.connections:
            return None
        return max(0, self.server.memory_idle - self.server.memory_before) / self.report.connections

    @property
    def load_was_the_bottleneck(self) -> bool:
        return self.report.busy >= BUSY

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the plan, what was counted, and what follows from it."""
        report = dataclasses.asdict(self.report)
        for name in ("upgrade", "latency", "everybody"):
            times: Percentiles = getattr(self.report, name)
            report[name] = report[name] if times.count else None
        plan = dataclasses.asdict(self.workload.plan)
        del report["step"], plan["headers"]  # which may hold a password
        return {
            "workload": self.workload.name,
            "plan": plan,
            "intact": self.is_intact,
            **report,
            "upgrades_per_second": self.report.upgrades_per_second,
            "deliveries_per_second": self.report.deliveries_per_second,
            "megabytes_per_second": self.report.delivered_bytes / 1e6 / (self.report.publish_seconds or 1),
            "load_busy": self.report.busy,
            "load_was_the_bottleneck": self.load_was_the_bottleneck,
            "server": dataclasses.asdict(self.server) if self.server else None,
            "server_busy": self.server_busy,
            "server_cpu_ns_per_delivery": self.server_cpu_ns,
            "server_cpu_ns_per_upgrade": self.upgrade_cpu_ns,
            "server_bytes_per_connection": self.connection_bytes,
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

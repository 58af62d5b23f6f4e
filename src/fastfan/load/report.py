"""What came of a load, finished or still going on."""

import enum
from dataclasses import dataclass

__all__ = ["Percentiles", "Report", "Step"]


class Step(enum.IntEnum):
    NEW = 0
    CONNECTING = 1
    RESTING = 2
    PUBLISHING = 3
    CLOSED = 4


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of `count` times in nanoseconds, each within 1 in 256; zeros where there are none."""

    count: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int  # exact


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Counts so far. CPU is of the load's own thread."""

    step: Step
    connections: int  # open
    connect_seconds: float
    connect_cpu_seconds: float
    publish_seconds: float  # from the first message's time to the last byte received
    publish_wall_seconds: float  # of the whole step, for which publish_cpu_seconds counts
    publish_cpu_seconds: float
    published: int
    delivered: int  # to steady subscribers and visitors
    delivered_bytes: int  # their payloads
    lost: int  # messages that a steady subscriber did not get, or a visitor while it was here; known at the end
    duplicated: int
    reordered: int
    malformed: int  # connections that got what nobody published; `fault` says what the first was
    departed: int  # steady subscribers and publishers that the server closed, with `close_code` (1006: without a Close)
    close_code: int | None
    visits: int
    failed_visits: int  # refused, or closed by the server
    slow_received: int
    slow_missed: int  # left out for a slow reader, as a server's policy may be
    slow_departed: int
    stalled_received: int
    stalled_departed: int
    upgrade: Percentiles  # from connect() to the 101
    latency: Percentiles  # from when a message was due, or made in a window, to its last byte; empty when unthrottled
    everybody: Percentiles  # the same until the last subscriber has it; in a window only
    fault: str

    @property
    def is_intact(self) -> bool:
        """Everybody who read got everything once, in order, and nobody was sent away."""
        return not (self.lost or self.duplicated or self.reordered or self.malformed or self.departed)

    @property
    def upgrades_per_second(self) -> float:
        return self.upgrade.count / self.connect_seconds if self.connect_seconds else 0.0

    @property
    def deliveries_per_second(self) -> float:
        return self.delivered / self.publish_seconds if self.publish_seconds else 0.0

    @property
    def busy(self) -> float:
        """The share of the publishing step in which the load's thread was at work, 0 to 1."""
        return self.publish_cpu_seconds / self.publish_wall_seconds if self.publish_wall_seconds else 0.0

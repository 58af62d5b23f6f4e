from types import TracebackType
from typing import Self, final

from fastfan.load.plan import Plan
from fastfan.load.report import Report

@final
class Load:
    """One load with all its connections, in the thread that calls its steps. They run without the GIL.

    The steps are called in this order, `rest` any number of times: connect, rest, publish, close. A step raises
    LoadStopped after stop(), LoadError for what the server did, MisuseError when another thread is in a step, out of
    order, or when the load is closed. Between two steps nobody reads or answers pings.

    Raises OSError where memory or descriptors are short. Needs `plan.connections` descriptors, and a few.
    """

    plan: Plan
    def __init__(self, plan: Plan) -> None: ...
    def connect(self) -> None:
        """Upgrade all connections. When one is refused that ends it: LoadError with the server's answer."""
    def rest(self, seconds: float) -> None:
        """Read and answer pings, and publish nothing."""
    def publish(self) -> None:
        """Publish as the plan says, until everything was received or nothing came for `patience_seconds`."""
    def close(self) -> None:
        """Close 1000 to the server on every connection, and all descriptors. Calling it again does nothing."""
    def stop(self) -> None:
        """End the present step, and those that follow, soon. Any thread."""
    def report(self) -> Report:
        """What came of it so far; during a step no older than 50 ms. Any thread."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

"""Runs one workload: the load in a thread of its own, the server's cost read between its steps."""

import threading
from collections.abc import Callable
from typing import Final

from fastfan.load import Load, LoadError, LoadStopped, Report
from pubsub.bench.cost import ServerProcess
from pubsub.bench.outcome import Outcome, ServerCost, Workload
from pubsub.errors import PubSubError

__all__ = ["Watch", "run_workload"]

# Called with what there is so far, some times a second.
Watch = Callable[[Workload, Report], None]

_WATCH_SECONDS: Final = 0.1


def run_workload(workload: Workload, server: ServerProcess | None, watch: Watch | None = None) -> Outcome:
    """What came of it. Raises PubSubError when the server refuses, and lets KeyboardInterrupt end it cleanly."""
    with Load(workload.plan) as load:
        steps = _Steps(load, workload, server)
        thread = threading.Thread(target=steps.run, name="load")
        try:
            thread.start()
            while thread.is_alive():
                thread.join(_WATCH_SECONDS)
                if watch and thread.is_alive():
                    watch(workload, load.report())
        finally:
            load.stop()
            steps.wait_end()
        if steps.error is not None:
            raise PubSubError(str(steps.error)) from steps.error
        return Outcome(workload=workload, report=load.report(), server=steps.cost)


class _Steps:
    """All steps of a load with readings between them. They are where nothing goes on, so they cost no accuracy."""

    def __init__(self, load: Load, workload: Workload, server: ServerProcess | None) -> None:
        self._load = load
        self._workload = workload
        self._server = server
        self._going_on = threading.Lock()
        self._is_over = False
        self.cost: ServerCost | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        with self._going_on:
            if not self._is_over:
                self._run()

    def wait_end(self) -> None:
        """Returns once no step goes on or can begin, whoever interrupts: the load must not be closed under one.

        A thread cannot always be joined: an interrupt may have come while it was being started.
        """
        self._is_over = True
        while True:
            try:
                with self._going_on:
                    return
            except KeyboardInterrupt:
                continue

    def _run(self) -> None:
        try:
            if self._server is None:
                self._carry_out()
            else:
                self.cost = self._carry_out_beside(self._server)
        except LoadStopped:
            pass
        except (LoadError, OSError) as error:
            self.error = error

    def _carry_out(self) -> None:
        self._load.connect()
        self._load.rest(self._workload.rest_seconds)
        if not self._workload.is_storm:
            self._load.publish()

    def _carry_out_beside(self, server: ServerProcess) -> ServerCost:
        memory_before, cpu_before = server.memory(), server.cpu_seconds()
        self._load.connect()
        cpu_connected = server.cpu_seconds()
        self._load.rest(self._workload.rest_seconds)
        memory_idle = server.memory()
        cpu, waited = server.cpu_seconds(), server.waited_seconds()
        if not self._workload.is_storm:
            self._load.publish()
        cpu, waited = server.cpu_seconds() - cpu, server.waited_seconds() - waited
        memory_after = server.memory()
        return ServerCost(
            connect_cpu_seconds=cpu_connected - cpu_before,
            publish_cpu_seconds=cpu,
            publish_waited_seconds=waited,
            memory_before=memory_before.own,
            memory_idle=memory_idle.own,
            memory_after=memory_after.own,
            resident_after=memory_after.resident,
        )

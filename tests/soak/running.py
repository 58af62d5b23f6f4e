"""One soak from its first program to its last: who is started, asked, and sent home in which order.

    server ── rest ──► population: steady, trouble, ... ── minutes ──► they leave, the steady last ──► rest

All of them are in a network namespace of the soak's own, where the server listens on every address that there is:
the cables and the wire to those who are elsewhere end there. Without the right to make one there are none of these.
"""

import contextlib
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

from pubsub.bench.cost import ServerProcess
from pubsub.bench.ownserver import pinned, pinning
from tests.soak.departures import Departures, Ending
from tests.soak.plan import Plan
from tests.soak.programs import Asked, asked
from tests.soak.samples import Sample, sample
from tests.support.namespaces import Namespace, missing

__all__ = ["Outcome", "run"]

POPULATION = ("steady", "trouble", "mortals", "floods")
ELSEWHERE = ("cut_off", "far")
_INTERVAL = 1.0
_SETTLING_SECONDS = 1.0
_TELLS_EVERY = 15.0
_FAULTS_KEPT = 100


@dataclass(slots=True)
class Outcome:
    """All that a verdict is made from."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    departures: Departures = field(default_factory=Departures)
    without: list[str] = field(default_factory=list)  # what this machine does not allow, and why
    steady: dict[str, Any] = field(default_factory=dict)  # the last report of the steady ones
    far: dict[str, Any] = field(default_factory=dict)  # the same of those at the end of the bad wire
    counts: dict[str, int] = field(default_factory=dict)  # of clients by kind, and of floods
    refusals_seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)  # what clients did not get that they had a right to
    fault_count: int = 0
    logged: list[str] = field(default_factory=list)  # by the server
    stats: dict[str, Any] = field(default_factory=dict)  # the server's last
    rest_before: Sample | None = None
    rest_after: Sample | None = None

    def fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(text)


class _Soak:
    def __init__(self, plan: Plan, server: Asked, say: Callable[[str], None], log: TextIO) -> None:
        self.outcome = Outcome(plan)
        self._server = server
        self._process = ServerProcess(server.program.pid)
        self._say = say
        self._log = log
        self._began = time.monotonic()
        self._told = self._began
        self._reports: dict[str, dict[str, Any]] = {}

    # --- asking ---

    def look(self) -> Sample:
        """Asks the server, and takes a sample."""
        answer = self._server.ask()
        self.take_server(answer)
        steady, far = (self._reports.get(name, {}) for name in ("steady", "far"))
        return sample(self._process, time.monotonic() - self._began, answer["stats"], steady, far)

    def take_server(self, answer: dict[str, Any]) -> None:
        outcome = self.outcome
        outcome.stats = answer["stats"]
        outcome.logged += answer["logged"]
        for client_id, cause in answer["departed"]:
            outcome.departures.departed(client_id, cause)

    def take(self, name: str, report: dict[str, Any]) -> None:
        outcome = self.outcome
        self._reports[name] = report
        outcome.departures.ended(map(Ending.from_document, report.get("endings", ())))
        for fault in report.get("faults", ()):
            outcome.fault(fault)
        outcome.counts.update(report.get("counts", {}))
        counts = (Counter[str](each.get("refusals", {})) for each in self._reports.values())
        outcome.refusals_seen = sum(counts, Counter())
        if name in ("steady", "far") and "delivered" in report:
            setattr(outcome, name, report)

    def go_without(self, lacks: list[str], population: dict[str, Asked]) -> None:
        hellos = [each.hello for each in population.values()]
        self.outcome.without = lacks + [hello["without"] for hello in hellos if "without" in hello]
        for each in self.outcome.without:
            self._say(f"without {each}")

    def watch(self, population: dict[str, Asked], seconds: float) -> None:
        """Asks everybody once a second, for so long."""
        ends = time.monotonic() + seconds
        due = time.monotonic()
        while due < ends:
            due += _INTERVAL
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - _INTERVAL)  # after a pause of this machine, no catching up
            for name, program in population.items():
                self.take(name, program.ask())
            self.keep(self.look())

    def keep(self, each: Sample) -> None:
        self.outcome.samples.append(each)
        print(json.dumps(dataclasses.asdict(each)), file=self._log, flush=True)
        if time.monotonic() - self._told > _TELLS_EVERY:
            self._told = time.monotonic()
            faults = self.outcome.fault_count + self.outcome.departures.fault_count
            self._say(
                f"{each.seconds:6.0f} s  {each.rss_bytes >> 20} MiB  {each.descriptors} descriptors  "
                f"{each.clients} clients  {each.topics} topics  {each.departures} departures  "
                f"p99 {each.p99_ms or 0:.1f} ms  {faults} faults"
            )

    def wait_rest(self, patience: float) -> Sample:
        """The server when nobody is left, or when the patience is over."""
        before = self.outcome.rest_before
        ends = time.monotonic() + patience
        while True:
            each = self.look()
            at_rest = not (each.clients or each.topics or each.memory_bytes)
            if (at_rest and (before is None or each.descriptors <= before.descriptors)) or time.monotonic() > ends:
                return each
            time.sleep(0.1)


def run(plan: Plan, say: Callable[[str], None] = print) -> Outcome:
    """Carries out the plan. Samples go to `plan.out` while they are taken. Raises DiedError."""
    plan.out.mkdir(parents=True, exist_ok=True)
    server_cpu, population_cpu = pinning() or (None, None)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((plan.out / "samples.jsonl").open("w"))
        stack.enter_context(pinned(population_cpu))
        lacks = _enter_namespace(stack)
        # Nobody else is in a namespace of our own.
        server = stack.enter_context(asked("server", plan, "127.0.0.1" if lacks else "0.0.0.0", cpu=server_cpu))
        port = str(server.hello["port"])
        soak = _Soak(plan, server, say, log)
        time.sleep(_SETTLING_SECONDS)
        soak.outcome.rest_before = soak.wait_rest(0)
        names = POPULATION if lacks else POPULATION + ELSEWHERE
        population = {name: stack.enter_context(asked(name, plan, port, cpu=population_cpu)) for name in names}
        say(f"server: process {server.program.pid}, port {port}, CPU {server_cpu}; population: CPU {population_cpu}")
        soak.go_without([f"half-open peers, delay and loss: needs {lacks}"] if lacks else [], population)
        soak.watch(population, plan.minutes * 60)
        _send_home(soak, population)
        patience = 5.0 + plan.options().topic_linger + plan.options().close_deadline
        soak.outcome.rest_after = soak.wait_rest(patience)
        soak.take_server(server.finish())
    soak.outcome.departures.finish()
    return soak.outcome


def _enter_namespace(stack: contextlib.ExitStack) -> str:
    """This thread, and what it starts, in a network namespace of its own; what is missing for that, if it is not."""
    lacks = missing()
    if not lacks:
        stack.enter_context(stack.enter_context(contextlib.closing(Namespace())))
    return lacks


def _send_home(soak: _Soak, population: dict[str, Asked]) -> None:
    # The steady ones last: until the others are gone, something could still happen to them.
    for name in population:
        if name != "steady":
            population[name].leave()
    for name in reversed(population):
        soak.take(name, population[name].finish())
        soak.look()

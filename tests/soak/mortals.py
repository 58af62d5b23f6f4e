"""Clients in processes of their own, which are stopped for a while, or killed: what no program can do to itself.

Plain processes, forked from this one, which has no event loop and no thread:

    killed     a publisher, SIGKILL in the middle of its message
    stopped    a subscriber, or a publisher at work, SIGSTOP for less than any deadline, or for longer than all of them
"""

import heapq
import itertools
import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

from tests.soak.departures import Ending
from tests.soak.ground import GONE
from tests.soak.messages import Mint
from tests.soak.plan import STEADY, Plan
from tests.soak.programs import answer, begin, die_with_parent
from tests.support.rawclient import PONG, TEXT, close_frame, frame, request

_FIRST_PUBLISHER = 10_000  # numbers below are the steady ones'
_SHORT, _LONG = (0.2, 0.9), (9.0, 11.0)
_WORKS = (0.5, 2.0)  # seconds before it is stopped, and after
_MIB = 1 << 20


# --- in the child ---------------------------------------------------------------------------------------------------


def _joined(port: int, name: str, topic: str, role: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 15)
    sock.sendall(request(topic, ("pubsub-client-name", name), role=role))
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = sock.recv(1)
        if not chunk:
            raise EOFError
        head += chunk
    return sock


def _die_in_the_middle(port: int, name: str, topic: str, _number: int, ready: int) -> NoReturn:
    with _joined(port, name, topic, "publisher") as sock:
        sock.sendall(frame(os.urandom(_MIB))[: _MIB // 2])
        os.write(ready, b".")
        while True:
            signal.pause()


def _work(port: int, name: str, topic: str, number: int, ready: int) -> None:
    """A publisher where it has a number, else a subscriber; closes when it is told to leave."""
    leaving: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(1))
    with _joined(port, name, topic, "publisher" if number else "subscriber") as sock:
        os.write(ready, b".")
        mint = Mint(number, seed=number)
        while not leaving:
            if number:
                message = mint.next()
                sock.sendall(frame(message, TEXT) if isinstance(message, str) else frame(message))
            readable, _, _ = select.select([sock], [], [], 0.05)
            if readable and not sock.recv(_MIB):
                return
            if readable:
                sock.sendall(frame(b"", PONG))  # any sign of life will do
        sock.sendall(close_frame())
        while sock.recv(_MIB):
            pass


# --- in the parent --------------------------------------------------------------------------------------------------


class Mortals:
    """Forks clients, and decides about life and death by a timetable."""

    def __init__(self, plan: Plan, port: int) -> None:
        self._plan = plan
        self._port = port
        self._random = random.Random(f"{plan.seed} mortals")
        self._timetable: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = itertools.count()
        self._numbers = itertools.count(1)
        self._living: set[int] = set()
        self._endings: list[Ending] = []
        self._unsaid: dict[int, Ending] = {}  # of those who are stopped, or will be
        self._counts: dict[str, int] = {"killed": 0, "stopped_briefly": 0, "stopped_long": 0}
        self._faults: list[str] = []

    def take_report(self) -> dict[str, Any]:
        endings, self._endings = self._endings, []
        faults, self._faults = self._faults, []
        documents = [ending.to_document() for ending in endings]
        return {"endings": documents, "counts": self._counts, "faults": faults}

    def run(self) -> None:
        """Until the end of the input; then those who live leave."""
        if self._plan.mortals:
            self._later(0.1, self._next)
        for line in self._asked():
            if line:
                answer(self.take_report())
        # These were not stopped for as long as they should have been, or not at all.
        self._endings += [Ending(each.name, each.causes | {"closed"}) for each in self._unsaid.values()]
        for pid in self._living:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
        ends = time.monotonic() + 10
        while self._living and time.monotonic() < ends:
            self._reap()
            time.sleep(0.01)
        for pid in self._living:
            self._faults.append(f"mortal {pid} did not end")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _asked(self) -> Iterator[bool]:
        """True for each line of the input; timetable and children are seen to meanwhile."""
        while True:
            now = time.monotonic()
            while self._timetable and self._timetable[0][0] <= now:
                heapq.heappop(self._timetable)[2]()
            self._reap()
            wait = min(0.2, self._timetable[0][0] - now) if self._timetable else 0.2
            if select.select([0], [], [], max(0.0, wait))[0]:
                data = os.read(0, 4096)
                if not data:
                    return
                yield from [True] * data.count(b"\n")

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._timetable, (time.monotonic() + seconds, next(self._tie), what))

    def _next(self) -> None:
        self._later(self._random.expovariate(self._plan.mortals), self._next)
        self._random.choice((self._begin_killed, self._begin_stopped))()

    def _begin_killed(self) -> None:
        name = f"killed.{next(self._numbers)}"
        self._counts["killed"] += 1
        pid = self._fork(_die_in_the_middle, name, 0)
        if pid:
            self._endings.append(Ending(name, frozenset(GONE)))
            os.kill(pid, signal.SIGKILL)

    def _begin_stopped(self) -> None:
        long, number = self._random.random() < 0.5, next(self._numbers)
        kind = "stopped_long" if long else "stopped_briefly"
        self._counts[kind] += 1
        publishes = self._random.random() < 0.5
        name = f"{kind}.{number}"
        pid = self._fork(_work, name, _FIRST_PUBLISHER + number if publishes else 0)
        if not pid:
            return
        # A subscriber that stands still for a moment while a burst of large messages comes may be over the bound.
        behind = [] if publishes else ["too_far_behind"]
        self._unsaid[pid] = Ending(name, frozenset(["no_pong", "stalled", *behind] if long else ["closed", *behind]))
        stops, seconds = self._random.uniform(*_WORKS), self._random.uniform(*(_LONG if long else _SHORT))
        goes_on = stops + seconds
        self._later(stops, lambda: self._signal(pid, signal.SIGSTOP))
        self._later(goes_on, lambda: self._go_on(pid))
        self._later(goes_on + self._random.uniform(*_WORKS), lambda: self._signal(pid, signal.SIGTERM))

    def _go_on(self, pid: int) -> None:
        self._signal(pid, signal.SIGCONT)
        self._endings.append(self._unsaid.pop(pid))

    def _signal(self, pid: int, number: signal.Signals) -> None:
        if pid in self._living:
            os.kill(pid, number)

    def _fork(self, life: Callable[[int, str, str, int, int], None], name: str, number: int) -> int:
        """The child's process id once it has its 101; 0 where it did not get one."""
        topic = self._random.choice(STEADY)
        ours, theirs = os.pipe()
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            die_with_parent(parent)
            with suppress(OSError, EOFError):  # the server closed it: that is for the book of departures
                life(self._port, name, topic, number, theirs)
            os._exit(0)
        self._living.add(pid)
        os.close(theirs)
        is_ready = bool(os.read(ours, 1))
        os.close(ours)
        if not is_ready:
            self._faults.append(f"{name} got no 101")
        return pid if is_ready else 0

    def _reap(self) -> None:
        while self._living:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._living.discard(pid)


def main() -> None:
    answer({})
    mortals = Mortals(Plan.from_document(json.loads(sys.argv[1])), int(sys.argv[2]))
    mortals.run()
    answer(mortals.take_report())


if __name__ == "__main__":
    begin()
    main()

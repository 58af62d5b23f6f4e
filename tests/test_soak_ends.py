"""A soak that is ended in the middle leaves no process behind, not even one that is stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.processes import PATIENCE_SECONDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the soak is Linux's, as prctl(2) and /proc are"),
]

ROOT = Path(__file__).parents[1]
PROGRAMS = 5  # at least
# Nothing but what the test is about: many who are stopped at any moment, for longer than it takes.
WORDS = ["minutes=5", "mortals=20", "visits=5", "nonsense=0", "laggards=0", "crowd=0", "flood_every=0"]


class Process(NamedTuple):
    state: str
    parent: int


def processes_of(session: int) -> dict[int, Process]:
    """Those of a session by their ids, whoever their parents are by now; those that have ended are left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # Behind the name, which is in brackets and may hold anything: state, parent, group, session.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found[int(folder.name)] = Process(fields[0], int(fields[1]))
    return found


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture
def soak(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """One in a session of its own, as in a terminal of its own: everybody is there, and it has stopped some of them."""
    command = [sys.executable, "-m", "tests.soak", *WORDS, f"out={tmp_path}"]
    said = tmp_path / "said"
    with said.open("wb") as output:
        soak = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)

    def is_at_work() -> bool:
        stopped = [pid for pid, process in processes_of(soak.pid).items() if process.state == "T"]
        return len(stopped) > 2 and "population" in said.read_text()

    try:
        wait(lambda: soak.poll() is not None or is_at_work(), "stopped ones")
        assert soak.poll() is None, said.read_text()
        yield soak
    finally:
        for pid in processes_of(soak.pid):
            os.kill(pid, signal.SIGKILL)
        soak.wait()


def test_soak_that_is_killed_leaves_no_process_behind(soak: "subprocess.Popen[bytes]") -> None:
    # Neither the server nor any other of its programs can see to it itself.
    programs = [pid for pid, process in processes_of(soak.pid).items() if process.parent == soak.pid]
    assert len(programs) >= PROGRAMS
    for pid in programs:
        os.kill(pid, signal.SIGSTOP)
    soak.kill()
    wait(lambda: not processes_of(soak.pid), "their ends")


def test_soak_that_is_interrupted_leaves_no_process_behind_and_says_so(
    soak: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    os.killpg(soak.pid, signal.SIGINT)  # as a terminal does
    assert soak.wait(PATIENCE_SECONDS) == 130
    wait(lambda: not processes_of(soak.pid), "their ends")
    said = (tmp_path / "said").read_text()
    assert said.endswith("soak: interrupted, no verdict\n") and "Traceback" not in said


def test_soak_that_is_terminated_leaves_no_process_behind(soak: "subprocess.Popen[bytes]") -> None:
    soak.terminate()
    wait(lambda: not processes_of(soak.pid), "their ends")

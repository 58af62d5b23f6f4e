"""The benchmark of publish() to the wire measures all its ways, and prints a line for each."""

import re
import subprocess
import sys

from benchmarks.to_the_wire import ROOT, WAYS, at


def test_every_way_gives_figures() -> None:
    command = [sys.executable, "-m", "benchmarks.to_the_wire", "--rate", "200", "--seconds", "0.2", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    for way in WAYS:
        line = re.search(rf"^{re.escape(way)} +(.*)$", done.stdout, re.M)
        assert line and len(line[1].split()) == 6


def test_a_percentile_is_one_of_the_values() -> None:
    assert (at([3000, 1000, 2000], 0.5), at([1000, 2000], 0.99), at([1000], 0.5)) == (2.0, 2.0, 1.0)

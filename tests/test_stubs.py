"""The stubs say what the modules are at run time: mypy's stubtest on both packages."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALLOWED = ROOT / "tests" / "stubtest-allowlist.txt"


def test_the_stubs_equal_the_runtime() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "fastfan", "pubsub", "--concise"]
    command += ["--mypy-config-file", "setup.cfg", "--allowlist", str(ALLOWED), "--ignore-unused-allowlist"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr

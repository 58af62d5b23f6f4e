"""The benchmark of io_uring: its program compiles without a warning, sends in every mode, and bears a refusal."""

import ctypes
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness, uring

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="io_uring is Linux's")

SMALL = uring.Load(subscribers=10, rate=20, seconds=0.2)
STRICT = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uring") / "uring"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, *STRICT, str(harness.HERE / "uring.c"), "-o", str(out)], check=True)
    return out


@pytest.mark.parametrize("mode", uring.MODES)
def test_every_delivery_of_a_mode_arrives_and_costs_something(program: Path, mode: str) -> None:
    try:
        cost = uring.measure(program, mode, SMALL)
    except uring.Refused as reason:
        pytest.skip(str(reason))
    assert cost.cpu_ns > 0 and cost.reader_ns > 0 and cost.softirq_ns >= 0


@pytest.mark.parametrize("words", ["", "send 10 20", "sent 10 20 1", "send 0 20 1", "send 10 0 1", "send 10 20 0"])
def test_what_makes_no_run_is_told_how_to_make_one(program: Path, words: str) -> None:
    done = subprocess.run([program, *words.split()], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")


def test_the_runner_compares_the_modes_and_keeps_every_run(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uring, "compiled", lambda *_: program)
    flags = ["--rounds", "2", "--subscribers", "10", "--rate", "20", "--seconds", "0.1", "--save", str(tmp_path)]
    assert uring.main(flags) == 0
    printed = capsys.readouterr().out
    if "refused" in printed:
        pytest.skip(printed)
    names = [line.split("  ")[1] for line in printed.splitlines()[-len(uring.MODES) :]]
    assert names == list(uring.MODES)
    document = json.loads((tmp_path / "uring.json").read_text())
    assert [set(costs) for costs in document["rounds"]] == [set(uring.MODES)] * 2


# -- Where the kernel says no ----------------------------------------------------------------------------------------


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(_Instruction)))


IO_URING_SETUP = 425  # the call's number on every processor but Alpha


def forbid_io_uring(error: int) -> None:
    """As a container's rules do, for this process and its children."""
    filters = (_Instruction * 4)(
        _Instruction(0x20, 0, 0, 0),  # load the number of the system call
        _Instruction(0x15, 0, 1, IO_URING_SETUP),
        _Instruction(0x06, 0, 0, 0x00050000 | error),  # SECCOMP_RET_ERRNO
        _Instruction(0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, by_filter = 38, 22, 2
    libc.prctl(no_new_privileges, 1, 0, 0, 0)
    if libc.prctl(set_seccomp, by_filter, ctypes.byref(_Filter(4, filters)), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "EINVAL"])
def test_a_kernel_that_refuses_is_told_of_on_one_line_and_is_no_failure(program: Path, error: str) -> None:
    code = f"""
import errno
from pathlib import Path
from benchmarks import uring
from tests.test_uring import forbid_io_uring
forbid_io_uring(errno.{error})
uring.compiled = lambda *_: Path({str(program)!r})
raise SystemExit(uring.main([]))
"""
    path = os.pathsep.join([str(harness.HERE.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, env={**os.environ, "PYTHONPATH": path}
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("refused: ")]
    assert (done.returncode, done.stderr) == (0, "")
    assert lines and all(f"({error})" in line for line in lines)
    assert "to send" not in done.stdout

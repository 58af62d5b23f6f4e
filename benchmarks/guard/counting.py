"""Runs operations.py under callgrind and reads what it counted.

Each round of an operation is a file of its own. A file says for every function which object it is in, so that the
engine's own code (its extension modules, with our C linked in) can be told from what it calls: the C library and the
interpreter. Functions are not looked at; the engine may rename them as it likes.

What keeps the counts the same from run to run: hashes without a seed, an empty environment (its size moves the stack),
symbols bound before the start, the C library's plainest routines, a clock that stands still (marks.c), and of several
rounds the least, because a round can only be disturbed upwards. The engine's own count is then exact. What is left in
the whole is malloc() and the interpreter's method cache: both depend a little on where things lie in memory.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.guard.operations import NOTHING, OPERATIONS, WARM_UP
from benchmarks.harness import BenchmarkError, allow_descriptors

__all__ = ["ENGINE", "ROOT", "Count", "costs", "count", "dumps", "least", "read_dump"]

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINE: Final = str(ROOT / "src" / "fastfan") + os.sep
PATIENCE: Final = 300.0  # seconds; it takes 5

OPTIONS: Final = (
    *("--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"),
    *("--compress-strings=no", "--compress-pos=no", "--dump-line=no"),
)
# glibc has a memcpy() for each generation of CPUs and picks one at the start. Without these it takes the one for every
# x86-64; names that a version does not know it ignores (2.33 renamed some). No other architecture has them.
PLAIN_ROUTINES: Final = "glibc.cpu.hwcaps=" + ",".join(
    f"-{feature}"
    for feature in (
        *("AVX", "AVX2", "AVX512F", "AVX512VL", "AVX_Usable", "AVX2_Usable", "AVX512F_Usable"),
        *("AVX_Fast_Unaligned_Load", "ERMS", "FSRM", "RTM", "SSSE3", "SSE4_1", "SSE4_2"),
    )
)
# malloc() keeps this many freed blocks of each size to 1 KiB at hand (7 otherwise); what it does when they run out
# depends on how the heap happens to lie.
READY_BLOCKS: Final = "glibc.malloc.tcache_count=127"
PASSED_ON: Final = ("LD_LIBRARY_PATH", "VALGRIND_LIB")  # without which Python or valgrind may not start


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Instructions in user space: of the engine's own code, and of all that ran."""

    engine: float
    whole: float


def count(names: Sequence[str]) -> dict[str, Count]:
    """Instructions for each time that these operations are done."""
    rounds: dict[str, list[Count]] = {}
    for dump in dumps([NOTHING, *names]):
        name, counted = read_dump(dump, ENGINE)
        rounds.setdefault(name, []).append(counted)
    marks = least(rounds[NOTHING])
    return {name: _each(name, least(rounds[name]), marks) for name in names}


def dumps(names: Sequence[str]) -> list[str]:
    """What callgrind wrote of each round of these operations."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise BenchmarkError("valgrind is not installed; on Debian and Ubuntu: apt-get install valgrind")
    allow_descriptors()
    with tempfile.TemporaryDirectory(prefix="fastfan-guard-") as folder:
        _build_marks(Path(folder))
        _run(valgrind, Path(folder), names)
        return [dump.read_text() for dump in Path(folder).glob("count.*")]


def _each(name: str, counted: Count, marks: Count) -> Count:
    operation = OPERATIONS[name]
    if not counted.engine:
        raise BenchmarkError(f"{name}: no instruction in {ENGINE}, so another engine was run; make it with: make setup")
    whole = counted.whole - operation.marked * marks.whole
    # To a tenth, as a baseline keeps it.
    return Count(engine=round(counted.engine / operation.times, 1), whole=round(whole / operation.times, 1))


def least(rounds: Sequence[Count]) -> Count:
    return Count(engine=min(each.engine for each in rounds), whole=min(each.whole for each in rounds))


# -- Running -------------------------------------------------------------------------------------------------------


def _build_marks(folder: Path) -> None:
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = str(Path(__file__).with_name("marks.c"))
    command = [*compiler, "-O2", "-shared", "-fPIC", "-o", "marks.so", source]
    try:
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError as error:
        raise BenchmarkError(f"marks.c wants a compiler: {error}") from error
    if made.returncode:
        raise BenchmarkError(f"marks.c wants a compiler and valgrind's headers (Fedora: valgrind-devel)\n{made.stderr}")


def _run(valgrind: str, folder: Path, names: Sequence[str]) -> None:
    """Leaves a file `count.N` in the folder for each round."""
    environment = {
        "GLIBC_TUNABLES": f"{PLAIN_ROUTINES}:{READY_BLOCKS}",
        "LD_BIND_NOW": "1",
        "LD_PRELOAD": "./marks.so",  # no path, in which a space or a colon would end the name
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
    }
    # Neither site-packages, and what they do at the start (-S), nor the folder, whose name is random (-P).
    program = [sys.executable, "-S", "-P", "-m", "benchmarks.guard.operations", *names]
    command = [valgrind, *OPTIONS, "--callgrind-out-file=count", *program]
    try:
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"operations.py is not done after {PATIENCE:g} s under valgrind") from error
    if ran.returncode:
        raise BenchmarkError(f"operations.py failed under valgrind:\n{ran.stdout}{ran.stderr}")


# -- Reading -------------------------------------------------------------------------------------------------------


def read_dump(text: str, engine: str) -> tuple[str, Count]:
    """The name that note() gave, and what was counted; `engine` is how the paths of the engine's objects begin."""
    found = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.M)
    counted = {True: 0, False: 0}
    for thing, _, instructions in costs(text):
        counted[thing.startswith(engine)] += instructions
    return found[1] if found else WARM_UP, Count(engine=counted[True], whole=counted[True] + counted[False])


def costs(text: str) -> Iterator[tuple[str, str, int]]:
    """The object, the function, and the instructions in it, line by line.

    Callgrind's format: "ob=" and "fn=" say what the lines that follow are of; a line of numbers is a position and a
    cost; the one behind "calls=" is the cost of what was called, which stands with the callee as well.
    """
    thing, function, of_call = "", "", False
    for line in text.splitlines():
        if line.startswith("ob="):
            thing = line[3:]
        elif line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            of_call = True
        elif line[:1].isdigit():
            if not of_call:
                yield thing, function, int(line.split()[1])
            of_call = False

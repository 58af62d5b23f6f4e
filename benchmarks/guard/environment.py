"""What decides how many instructions there are, besides the code."""

import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from benchmarks.guard.counting import ROOT
from benchmarks.harness import BenchmarkError

__all__ = ["Environment", "environment_here", "surroundings_here"]

BUILD: Final = ROOT / "build" / f"dev-{sys.implementation.cache_tag}"  # as the Makefile names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What decides the engine's own count; baselines are kept for each."""

    machine: str
    compiler: str
    cython: str
    python: str
    build: str

    def __str__(self) -> str:
        return f"{self.machine}, {self.compiler}, Cython {self.cython}, CPython {self.python}, {self.build}"


def environment_here() -> Environment:
    try:
        cache = (BUILD / "CMakeCache.txt").read_text()
        compiler = next(BUILD.glob("CMakeFiles/*/CMakeCCompiler.cmake")).read_text()
    except (OSError, StopIteration) as error:
        raise BenchmarkError(f"no engine built in {BUILD.relative_to(ROOT)}; make it with: make setup") from error
    flags = _found(r"^CMAKE_C_FLAGS:\w+=(.*)$", cache)
    build_type = _found(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache)
    name = _found(r'CMAKE_C_COMPILER_ID "(.*)"', compiler)
    major = _found(r'CMAKE_C_COMPILER_VERSION "(\d+)', compiler)
    return Environment(
        machine=platform.machine(),
        compiler=f"{name} {major}",
        cython=".".join(metadata.version("cython").split(".")[:2]),
        python="{}.{}".format(*sys.version_info),
        build=f"{build_type} {flags}".strip(),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else "unknown"


def surroundings_here() -> str:
    """What else decides the whole: the interpreter's exact build, and the C library."""
    library = " ".join(platform.libc_ver())
    return f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()}), {library}"

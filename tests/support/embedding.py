"""Compiling somebody else's Cython module against fastfan, with nothing but what its package holds."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

__all__ = ["compile_module"]

# Where the headers of an interpreter are, and how its modules are called and compiled.
ASK = """
import sysconfig
print(sysconfig.get_config_var("CC"), sysconfig.get_path("include"), sysconfig.get_config_var("EXT_SUFFIX"), sep="\\n")
"""


def compile_module(source: Path, *, python: str | Path = sys.executable, search: str = "") -> Path:
    """Compiles `source` beside itself for that interpreter; `search` is what PYTHONPATH holds meanwhile."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV", "LD_"))}
    environment["PYTHONPATH"] = search

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=source.parent, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
        return done.stdout

    compiler, headers, suffix = run(python, "-c", ASK).splitlines()
    run(python, "-m", "cython", "-3", "-Werror", source.name)
    made = source.with_suffix(suffix)
    run(*shlex.split(compiler), "-shared", "-fPIC", "-O1", f"-I{headers}", source.with_suffix(".c"), "-o", made)
    return made

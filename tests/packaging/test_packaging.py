"""What is built installs into a clean environment and works there, on every CPython that the machine has."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.embedding import compile_module

ROOT = Path(__file__).parents[2]
OLDEST = (3, 11)
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".c", ".h", ".typed"}

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a command as somebody without this source tree would; its output, or the test's failure."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV", "LD_"))}
    pipe, into_stdout = subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=pipe, stderr=into_stdout, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def interpreters() -> dict[str, str]:
    """ "3.12" to an interpreter of that version: this one, then those on PATH, then pyenv's."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    candidates = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 30)]
    candidates += map(str, sorted(Path.home().glob(".pyenv/versions/3.*/bin/python")))
    for python in filter(None, candidates):
        # A pyenv shim exists for versions that are not switched on: it fails, and so does a broken interpreter.
        asked = subprocess.run([python, "-c", PROBE], capture_output=True, text=True)
        version = asked.stdout.strip()
        if asked.returncode == 0 and tuple(map(int, version.split("."))) >= OLDEST:
            found.setdefault(version, python)
    return found


# Fails where the interpreter is no CPython or lacks what an environment and a build need.
PROBE = """
import ensurepip, os, sys, sysconfig
assert sys.implementation.name == "cpython"
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print("%d.%d" % sys.version_info[:2])
"""


class Environment:
    """A virtual environment that holds nothing but what `install` puts there."""

    def __init__(self, python: str, folder: Path) -> None:
        run(python, "-m", "venv", folder)
        self.python = folder / "bin" / "python"
        self.folder = folder

    def pip(self, *arguments: str | Path) -> str:
        return run(self.python, "-m", "pip", *arguments)

    def use(self) -> str:
        """Runs the first minute of a user, from a folder that is not the source tree."""
        return run(self.python, "-I", ROOT / "tests" / "packaging" / "using_it.py", cwd=self.folder)


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", out, ROOT)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="session")
def wheel_for(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What pip makes of the sdist with an interpreter: a wheel, checked. A minute for each interpreter, once."""
    made: dict[str, Path] = {}

    def make(python: str) -> Path:
        if python not in made:
            folder = tmp_path_factory.mktemp("wheel")
            Environment(python, folder / "builder").pip("wheel", "--no-deps", "--wheel-dir", folder, sdist)
            (made[python],) = folder.glob("*.whl")
            run(sys.executable, ROOT / "tools" / "check_wheel.py", made[python])
        return made[python]

    return make


def test_the_sdist_holds_the_sources_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "LICENSE", "Makefile", "README.md", "tests/conftest.py", "tools/build.sh"} <= names
    generated = set(ROOT.glob("src/fastfan/_*.c"))
    ours = [path for path in ROOT.glob("src/**/*") if path.suffix in SOURCES and path not in generated]
    assert {path.relative_to(ROOT).as_posix() for path in ours} <= names
    stray = [name for name in names if re.search(r"\.so$|\.pyc$|__pycache__|^build/|^src/fastfan/_\w+\.c$", name)]
    assert not stray


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters().keys())
def test_what_pip_builds_works_in_a_clean_environment(
    python: str, wheel_for: Callable[[str], Path], tmp_path: Path
) -> None:
    environment = Environment(python, tmp_path / "user")
    environment.pip("install", wheel_for(python))
    assert "works" in environment.use()


def test_another_cython_module_is_compiled_against_the_wheel(
    wheel_for: Callable[[str], Path], tmp_path: Path
) -> None:
    environment = Environment(sys.executable, tmp_path / "user")
    environment.pip("install", wheel_for(sys.executable), "cython>=3.3,<3.4")
    for name in ("embedder.pyx", "embedding_it.py"):
        shutil.copy(ROOT / "tests" / "packaging" / name, tmp_path)
    compile_module(tmp_path / "embedder.pyx", python=environment.python)
    assert "embeds" in run(environment.python, tmp_path / "embedding_it.py", cwd=tmp_path)


def test_a_wheel_without_its_engine_is_refused(tmp_path: Path) -> None:
    pure = tmp_path / "fastfan-0.1.0-py3-none-any.whl"
    shutil.make_archive(str(pure), "zip", ROOT / "tools")
    Path(f"{pure}.zip").rename(pure)
    with pytest.raises(AssertionError, match=r"none-any.*\n.*lacks the extension module fastfan\._"):
        run(sys.executable, ROOT / "tools" / "check_wheel.py", pure)


def test_windows_is_told_in_one_line_that_there_is_no_build(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="fastfan does not run on Windows"):
        run("cmake", "-S", ROOT, "-B", tmp_path, "-DCMAKE_SYSTEM_NAME=Windows")

"""A Cython module of somebody else's publishes through the engine: compiled here against the build in place."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastfan
from tests.support.embedding import compile_module

ROOT = Path(__file__).parents[1]
SOURCE = str(Path(fastfan.__file__).parents[1])


def run_program(folder: Path) -> "subprocess.CompletedProcess[str]":
    program = folder / "embedding_it.py"
    shutil.copy(ROOT / "tests" / "packaging" / "embedding_it.py", program)
    search = {"PYTHONPATH": SOURCE}
    return subprocess.run([sys.executable, program], env=search, capture_output=True, text=True, timeout=50)


def embedder(folder: Path) -> Path:
    return Path(shutil.copy(ROOT / "tests" / "packaging" / "embedder.pyx", folder))


def test_an_embedder_publishes_without_the_gil(tmp_path: Path) -> None:
    compile_module(embedder(tmp_path), search=SOURCE)
    done = run_program(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "embeds" in done.stdout


def test_one_that_was_compiled_against_another_abi_is_told_so_when_it_is_imported(tmp_path: Path) -> None:
    # Its own copy of what it cimports, from a day when the number was another.
    package = tmp_path / "elsewhere" / "fastfan"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("__init__.pxd", "_embedding.pxd"):
        text = (ROOT / "src" / "fastfan" / name).read_text()
        (package / name).write_text(re.sub(r"FASTFAN_ABI = \d+", "FASTFAN_ABI = 999", text))
    compile_module(embedder(tmp_path), search=str(package.parent))
    done = run_program(tmp_path)
    assert re.search(r"ImportError: compiled against ABI 999 of fastfan, which has ABI \d+ here", done.stderr)


def test_one_that_was_compiled_against_another_signature_is_told_so(tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "fastfan"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "src" / "fastfan" / "__init__.pxd", package)
    text = (ROOT / "src" / "fastfan" / "_embedding.pxd").read_text()
    changed = text.replace("cdef uint64_t fastfan_subscribers(", "cdef int64_t fastfan_subscribers(")
    assert changed != text
    (package / "_embedding.pxd").write_text(changed)
    compile_module(embedder(tmp_path), search=str(package.parent))
    assert "fastfan_subscribers has wrong signature" in run_program(tmp_path).stderr


@pytest.mark.parametrize("name", ["__init__.pxd", "_embedding.pxd"])
def test_embedders_need_no_header_of_ours(name: str) -> None:
    text = (ROOT / "src" / "fastfan" / name).read_text()
    assert "cdef extern" not in text
    allowed = {"fastfan", "fastfan._embedding", "libc.stddef", "libc.stdint"}
    assert set(re.findall(r"from (\S+) cimport", text)) <= allowed

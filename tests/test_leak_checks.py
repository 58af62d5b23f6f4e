"""The checks in conftest.py catch what they are for: one run of pytest over tests that each leave something behind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

CULPRITS = """
import asyncio, os, socket, threading, pytest

kept = []

def test_descriptor():
    kept.append(os.pipe())

def test_thread():
    go_on = threading.Event()
    kept.append(go_on)
    threading.Thread(target=go_on.wait, name="straggler", daemon=True).start()

async def test_task():
    kept.append(asyncio.create_task(asyncio.sleep(60), name="straggler"))

def test_task_of_asyncio_run():
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(60), name="straggler"))
    asyncio.run(main())

async def test_exception_in_callback():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

async def test_exception_nobody_retrieved():
    async def fail():
        raise OSError("unseen")
    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

def test_warning():
    import warnings
    warnings.warn("careful")

def test_unraisable():
    class Bad:
        def __del__(self):
            raise OSError("unseen")
    Bad()

def test_unclosed_socket():
    socket.socket()

async def test_innocent():
    await asyncio.sleep(0)
    with socket.socket():
        await asyncio.to_thread(int)

async def test_provoked(loop_errors):
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    assert "ZeroDivisionError" in loop_errors.pop()
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest printed about the culprits, under this project's conftest and setup.cfg."""
    folder = tmp_path_factory.mktemp("culprits")
    shutil.copy(HERE / "conftest.py", folder)
    shutil.copy(HERE.parent / "setup.cfg", folder)
    (folder / "test_culprits.py").write_text(CULPRITS)
    command = [sys.executable, "-m", "pytest", "-rA", "--tb=short", "-p", "no:cacheprovider", "test_culprits.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV"))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("test_descriptor", r"leaked descriptor \d+: pipe:"),
        ("test_thread", r"leaked thread \d+: straggler"),
        ("test_task", r"leaked task: <Task pending name='straggler'"),
        ("test_task_of_asyncio_run", r"leaked task: <Task pending name='straggler'"),
        ("test_exception_in_callback", r"swallowed by the event loop: Exception in callback"),
        ("test_exception_nobody_retrieved", r"swallowed by the event loop: Task exception was never retrieved"),
        ("test_warning", r"UserWarning: careful"),
        ("test_unraisable", r"PytestUnraisableExceptionWarning"),
        ("test_unclosed_socket", r"ResourceWarning: unclosed <socket"),
    ],
)
def test_what_a_test_leaves_behind_fails_it(report: str, name: str, finding: str) -> None:
    assert re.search(rf"^(ERROR|FAILED) test_culprits.py::{name}\b", report, re.MULTILINE), report
    assert re.search(finding, report), report


@pytest.mark.parametrize("name", ["test_innocent", "test_provoked"])
def test_a_tidy_test_passes(report: str, name: str) -> None:
    assert f"PASSED test_culprits.py::{name}" in report
    assert not re.search(rf"^(ERROR|FAILED) test_culprits.py::{name}\b", report, re.MULTILINE), report

"""The Autobahn test suite, both ways: its client against our server, and our client against its server.

    python -m tests.conformance [--cases "1.* 2.*"] [WHAT ...]

WHAT is of `lane` (the server's express lane), `no-lane` (everything through wsproto) and `client`. The cases are those
of groups 1 to 7, 9 and 10: all but the ones for compression, which is not offered. Every case must be OK, NON-STRICT or
INFORMATIONAL, and its close clean. The suite is a program for Python 2.7: where there is none, this says so and ends
with 3.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pubsub.closing import NO_STATUS
from pubsub.connection import Closed, Connection, Piece, Ping
from pubsub.upgrade import Accepted, ClientUpgrade
from tests.support.processes import running_server

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "conformance"
WSTEST = BUILD / "venv" / "bin" / "wstest"
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*")
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
PATIENCE_SECONDS = 30.0
NO_PYTHON_2 = 3


def python_2() -> str | None:
    """An interpreter for the suite."""
    managed = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/2.7*/bin/python2.7"))
    for found in (*map(str, reversed(managed)), shutil.which("python2.7")):
        # A version manager may have a name on the PATH that leads to nothing.
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


def install(python: str) -> None:
    """The suite in an environment of its own; once."""
    if WSTEST.exists():
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    log = (BUILD / "install.log").open("wb")
    quiet: dict[str, Any] = {"check": True, "stdout": log, "stderr": log}
    tool = BUILD / "tool"
    # The last virtualenv that still makes environments for 2.7.
    subprocess.run([sys.executable, "-m", "venv", str(tool)], **quiet)
    subprocess.run([str(tool / "bin" / "pip"), "install", "-q", "virtualenv<20.22"], **quiet)
    subprocess.run([str(tool / "bin" / "virtualenv"), "-q", "-p", python, str(BUILD / "venv")], **quiet)
    pip = [str(BUILD / "venv" / "bin" / "pip"), "install", "-q", "--no-python-version-warning"]
    subprocess.run([*pip, "-r", str(HERE / "requirements.txt")], **quiet)


# --- its client, our server -----------------------------------------------------------------------------------------


def run_suite(mode: str, agent: str, spec: dict[str, Any]) -> Path:
    folder = BUILD / agent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / "spec.json"
    file.write_text(json.dumps({"outdir": str(folder / "reports"), **spec}))
    with (folder / "log").open("wb") as log:
        subprocess.run([str(WSTEST), "-m", mode, "-s", str(file)], check=True, stdout=log, stderr=log, cwd=folder)
    return folder / "reports" / "index.json"


def against_our_server(agent: str, cases: Sequence[str], *flags: str) -> Path:
    # No pings: its client answers one even in the middle of a frame that it sends in pieces, and breaks it by that.
    with running_server("--max-message-bytes", "64MiB", "--ping-interval", "100000h", *flags) as server:
        url = f"{server.url}/conformance?pubsub=duplex"
        spec = {"servers": [{"agent": agent, "url": url}], "cases": list(cases), "exclude-cases": []}
        return run_suite("fuzzingclient", agent, spec)


# --- its server, our client -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def its_server(cases: Sequence[str], port: int) -> Iterator[Path]:
    folder = BUILD / "client"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = {"url": f"ws://127.0.0.1:{port}", "outdir": str(folder / "reports"), "cases": list(cases)}
    file = folder / "spec.json"
    file.write_text(json.dumps({**spec, "exclude-cases": [], "exclude-agent-cases": {}}))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(WSTEST), "-m", "fuzzingserver", "-s", str(file)], stdout=log, stderr=log, cwd=folder
        )
    try:
        yield folder / "reports" / "index.json"
    finally:
        server.terminate()
        server.wait(PATIENCE_SECONDS)


async def converse(port: int, target: str, *, echo: bool) -> bytes:
    """One connection of our client's protocol, to its end; what came last, whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    upgrade = ClientUpgrade(host=f"127.0.0.1:{port}", target=target)
    writer.write(upgrade.request)
    accepted = None
    while accepted is None and (data := await reader.read(65536)):
        accepted = upgrade.receive(data)
    assert isinstance(accepted, Accepted)
    connection, last = Connection(client=True), b""
    message: list[bytes | str] = []
    data = upgrade.leftover
    while True:
        for happening in connection.receive(data):
            if isinstance(happening, Piece):
                message.append(happening.data)
                if happening.last:
                    whole = "".join(map(str, message)) if isinstance(message[0], str) else b"".join(message)  # type: ignore[arg-type]
                    last = whole.encode() if isinstance(whole, str) else whole
                    message.clear()
                    if echo and not connection.close_received:
                        writer.write(connection.message(whole))
            elif isinstance(happening, Ping):
                writer.write(connection.pong(happening.payload))
            elif isinstance(happening, Closed):
                writer.write(connection.close(happening.code if happening.error else happening.code or NO_STATUS))
        try:
            await writer.drain()
            data = await reader.read(65536)
        except ConnectionError:
            data = b""
        if not data:
            writer.close()
            return last


async def run_cases(port: int) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            count = int(await converse(port, "/getCaseCount", echo=False))
            break
        except ConnectionRefusedError:
            assert time.monotonic() < ends, "its server does not listen"
            await asyncio.sleep(0.1)
    for case in range(1, count + 1):
        await converse(port, f"/runCase?case={case}&agent=client", echo=True)
    await converse(port, "/updateReports?agent=client", echo=False)


def against_its_server(cases: Sequence[str]) -> Path:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with its_server(cases, port) as report:
        asyncio.run(run_cases(port))
        return report


# --- the verdict ----------------------------------------------------------------------------------------------------


def verdict(agent: str, report: Path) -> bool:
    """Prints a line, and one for each case that is not as it should be."""
    cases: dict[str, dict[str, Any]] = json.loads(report.read_text())[agent]
    found = Counter(case["behavior"] for case in cases.values())
    bad = {name: case for name, case in cases.items() if not {case["behavior"], case["behaviorClose"]} <= GOOD}
    counts = ", ".join(f"{count} {behavior}" for behavior, count in sorted(found.items()))
    print(f"{agent}: {len(cases)} cases: {counts}; closes not clean: {sum(1 for case in bad.values())}")
    for name, case in sorted(bad.items()):
        print(f"  {name}: {case['behavior']}, close {case['behaviorClose']}")
    return not bad and len(cases) > 0


def main() -> int:
    parser = argparse.ArgumentParser(description="The Autobahn test suite against the server and the client.")
    parser.add_argument("what", nargs="*", metavar="WHAT", help="lane, no-lane, client; default: all")
    parser.add_argument("--cases", help="patterns of cases, such as '1.* 7.5.1'")
    arguments = parser.parse_args()
    python = python_2()
    if python is None:
        print("conformance: left out, because there is no Python 2.7, which the Autobahn test suite needs")
        return NO_PYTHON_2
    install(python)
    cases = arguments.cases.split() if arguments.cases else CASES
    good = True
    for what in arguments.what or ("lane", "no-lane", "client"):
        started = time.monotonic()
        if what == "client":
            report = against_its_server(cases)
        else:
            report = against_our_server(what, cases, *(() if what == "lane" else ("--no-lane",)))
        good &= verdict(what, report)
        print(f"  in {time.monotonic() - started:.0f} s; reports: {report.with_suffix('.html')}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""The rivals: other servers, each broadcasting the fastest way its documentation has, for the same load.

Each takes a port and listens on 127.0.0.1: the URL's path is the topic, the request header ``pubsub`` says publisher or
subscriber, and what a publisher sends goes to all subscribers of its topic, binary or text as it came, uncompressed.
Each runs in one process (nginx keeps an idle master beside its worker) and with its own defaults, except where its file
says otherwise. ``setup.sh`` installs them into ``build/rivals``.
"""

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["RIVALS", "Rival"]

HERE: Final = Path(__file__).parent
BUILD: Final = HERE.parent.parent / "build" / "rivals"
PYTHON: Final = str(BUILD / "venv" / "bin" / "python")
BUN: Final = str(BUILD / "node" / "node_modules" / ".bin" / "bun")
ASK_SECONDS: Final = 10.0


@functools.cache
def _answer(command: tuple[str, ...]) -> str | None:
    """What a command prints, or None when it cannot run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A server to be measured beside ours."""

    name: str
    command: tuple[str, ...]  # with {port} in it
    ask: tuple[str, ...]  # prints the version; fails when it is not installed
    how: str  # its way of broadcasting
    notes: tuple[str, ...] = ()  # what is known against it, or against comparing it

    def installed(self) -> bool:
        return _answer(self.ask) is not None

    def version(self) -> str:
        """As it is installed, for tables: ``Bun 1.4.5 (µWebSockets)``."""
        return _answer(self.ask) or f"{self.name}, not installed"


def _python(script: str) -> tuple[str, ...]:
    return (PYTHON, str(HERE / script), "{port}")


def _packages(*names: str) -> tuple[str, ...]:
    """A command that prints the packages' versions, and Python's."""
    script = (
        "import platform",
        "from importlib.metadata import version",
        f"packages = ', '.join(f'{{name}} {{version(name)}}' for name in {names!r})",
        "print(packages, 'on Python', platform.python_version())",
    )
    return (PYTHON, "-c", "\n".join(script))


_ALL = (
    Rival(
        name="bun",
        command=(BUN, str(HERE / "bun_server.ts"), "{port}"),
        ask=(BUN, "--print", "`Bun ${Bun.version} (µWebSockets)`"),
        how="server.publish(): framed once, gathered per subscriber and turn, then one write each",
        notes=(
            "drops silently for a subscriber that has more than backpressureLimit waiting; here 64 MiB, by default 16",
            "does not hold publishers back",
        ),
    ),
    Rival(
        name="nchan",
        command=(str(HERE / "nchan_server.sh"), "{port}"),
        ask=(str(HERE / "nchan_server.sh"), "--version"),
        how="nchan_publisher and nchan_subscriber: one message in shared memory, a writev per subscriber and message",
        notes=(
            "answers every message with a text frame to its publisher",
            "goes through all that a stalled subscriber has not taken at every message, which slows it for the others",
        ),
    ),
    Rival(
        name="websockets",
        command=_python("websockets_server.py"),
        ask=_packages("websockets", "uvloop"),
        how="websockets.broadcast(): framed for and written to each subscriber",
        notes=("does not hold publishers back",),
    ),
    Rival(
        name="picows",
        command=_python("picows_server.py"),
        ask=_packages("picows", "aiofastnet", "uvloop"),
        how="send_reuse_external_bytearray(): copied once, framed in place for and written to each subscriber",
        notes=("does not hold publishers back",),
    ),
    Rival(
        name="starlette",
        command=_python("starlette_server.py"),
        ask=_packages("starlette", "uvicorn", "websockets", "uvloop"),
        how="an awaited send per subscriber and message, framed for each",
        notes=("a subscriber that does not read holds up all others until a ping of it times out",),
    ),
)
RIVALS: Final[dict[str, Rival]] = {rival.name: rival for rival in _ALL}

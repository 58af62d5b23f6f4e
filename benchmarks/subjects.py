"""The servers under test, by name."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Final

from benchmarks.harness import BUILD, HERE, BenchmarkError, Subject
from benchmarks.rivals import RIVALS

__all__ = ["ENGINE", "ONE_TOPIC", "OURS", "THREADED", "subjects_from"]

OURS: Final = ("bare_log", "fastpubsub")
# With no I/O thread, one, two on the server's core, and two on all cores.
THREADED: Final = ("fastpubsub-io0", "fastpubsub", "fastpubsub-io2", "fastpubsub-io2-spread")
# What the engine's curves are of.
ENGINE: Final = ("bare_log", "fastpubsub", "fastpubsub-io2-spread")
# The bare ones: they know one topic, and answer no Close.
ONE_TOPIC: Final = ("bare_log", "bare_send")

_OURS: Final = Subject(
    name="fastpubsub",
    command=(sys.executable, "-m", "pubsub", "serve", "127.0.0.1:{port}", "--events", "none"),
    version=version("fastfan"),
    how="one log, a cursor each, one send per subscriber and turn",
)
_EMBEDDED: Final = Subject(
    name="embedded",
    command=(sys.executable, str(HERE / "programs" / "embedded.py"), "{port}"),
    version=version("fastfan"),
    how="pubsub.serve() in a program that does other things as well",
)


_MOUNTED: Final = Subject(
    name="hub-mount",
    command=(sys.executable, str(HERE / "programs" / "mounted.py"), "{port}"),
    version=version("fastfan"),
    how="a hub in Starlette under uvicorn: a cursor each, an awaited send per subscriber and message",
)


def _ours(suffix: str, *flags: str, how: str) -> Subject:
    return replace(_OURS, name=_OURS.name + suffix, command=(*_OURS.command, *flags), how=how)


_KNOWN: Final = {
    "bare_log": Subject(
        name="bare_log",
        command=(str(BUILD / "bare_log"), "{port}"),
        version="C",
        how="one log, a cursor each, one send per subscriber and turn; no policy, no errors",
    ),
    "bare_send": Subject(
        name="bare_send",
        command=(str(BUILD / "bare_send"), "{port}"),
        version="C",
        how="one send per subscriber and message; no policy, no errors",
    ),
    "fastpubsub": _OURS,
    "fastpubsub-io0": _ours("-io0", "--io-threads", "0", how="the loop of asyncio turns the engine's"),
    "fastpubsub-io2": _ours("-io2", "--io-threads", "2", how="two I/O threads, on one core as all are"),
    # Nothing else here may use the load's core: what it takes there, the load has not.
    "fastpubsub-io2-spread": replace(
        _ours("-io2-spread", "--io-threads", "2", how="two I/O threads on all cores, the load's too"), spread=True
    ),
    "embedded": _EMBEDDED,
    "embedded-io0": replace(
        _EMBEDDED, name="embedded-io0", command=(*_EMBEDDED.command, "--io-threads", "0"), how="without I/O threads"
    ),
    "hub-mount": _MOUNTED,
    "hub-listen": replace(
        _MOUNTED, name="hub-listen", command=(*_MOUNTED.command, "--listen"), how="the same hub on a port of its own"
    ),
    "starlette-by-hand": replace(
        _MOUNTED,
        name="starlette-by-hand",
        command=(sys.executable, str(HERE / "rivals" / "starlette_server.py"), "{port}"),
        version="starlette",
        how="Starlette under uvicorn: an awaited send per subscriber and message",
    ),
}


def subjects_from(names: Sequence[str], default: Sequence[str]) -> list[Subject]:
    """The servers that the command line names, `rivals` being all that are installed; `default` when it names none."""
    subjects: list[Subject] = []
    for text in names or default:
        for subject in _installed_rivals() if text == "rivals" else [_subject(text)]:
            if any(other.name == subject.name for other in subjects):
                raise BenchmarkError(f"two servers named {subject.name!r}; give one another name: NAME=COMMAND")
            subjects.append(subject)
    return subjects


def _subject(text: str) -> Subject:
    name, equals, command = text.partition("=")
    if equals:
        return Subject(name=name, command=tuple(shlex.split(command)))
    if name in _KNOWN:
        return _KNOWN[name]
    if name in RIVALS:
        if not RIVALS[name].installed():
            raise BenchmarkError(f"{name} is not installed; `make rivals` does that")
        return _rival(name)
    raise BenchmarkError(f"no server named {name!r}; there are {', '.join([*_KNOWN, *RIVALS])} and NAME=COMMAND")


def _installed_rivals() -> list[Subject]:
    for name, rival in RIVALS.items():
        if not rival.installed():
            print(f"left out, because it is not installed (make rivals): {name}", file=sys.stderr)
    return [_rival(name) for name, rival in RIVALS.items() if rival.installed()]


def _rival(name: str) -> Subject:
    rival = RIVALS[name]
    return Subject(name=name, command=rival.command, version=rival.version(), how=rival.how)

"""What `bench` does: find or start the server, make workloads of what was asked for, run them, and tell.

    --pid or an own server ──► cost.ServerProcess ─┐
    URL or an own server ────► Plan ──► workloads ─┴► run_workload ──► Outcome ──► a block of lines, or JSON
"""

import os
import resource
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import click

from fastfan import MisuseError as EngineMisuseError
from fastfan.load import Plan
from pubsub.addresses import ClientAddress, client_address
from pubsub.bench.cost import ServerProcess, readable
from pubsub.bench.outcome import Workload
from pubsub.bench.ownserver import own_server, pinned, pinning
from pubsub.bench.running import run_workload
from pubsub.bench.screen import LiveLine, block, machine
from pubsub.bench.workloads import workloads
from pubsub.cli.exits import Exit
from pubsub.errors import ConfigError, MisuseError, PubSubError

__all__ = ["run_bench"]

_TOPIC: Final = "/bench"
_SECONDS: Final = 5.0
_SUBSCRIBERS: Final = 1000
_STORM_CONNECTIONS: Final = 10_000
_LOOK_SECONDS: Final = 3.0

# Between two runs: the server still takes leave of the first one's connections.
_REST_SECONDS: Final = 0.5

# Descriptors that are not connections: the standard ones, the poller's, the interpreter's files.
_OTHER_DESCRIPTORS: Final = 32


@dataclass(frozen=True, slots=True)
class _Target:
    """The server under load. Without a process its CPU and memory stay unknown."""

    place: ClientAddress
    process: ServerProcess | None
    cpus: tuple[int, int] | None = None  # the server's and the load's, where they are kept apart


def run_bench(url: str | None, *, as_json: bool, **asked: Any) -> int:
    """The exit code. `asked` is what the flags said."""
    try:
        return _run_all(url, as_json=as_json, asked=asked)
    except KeyboardInterrupt:  # caught here, because click would answer it with a line of its own
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever reads our output has had enough; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FINE


def _run_all(url: str | None, *, as_json: bool, asked: dict[str, Any]) -> int:
    _check_pace(asked)
    _workloads("127.0.0.1", ClientAddress(False, "127.0.0.1", 1, _TOPIC), asked)  # what cannot be fails before a server
    with _target(url, asked) as target:
        runs = _workloads(_look_up(target.place), target.place, asked)
        _allow_descriptors(max(run.plan.connections for run in runs))
        if not as_json:
            _introduce(target)
        with pinned(target.cpus[1] if target.cpus else None):
            outcomes: list[bool] = []
            for workload in runs:
                if outcomes:
                    time.sleep(_REST_SECONDS)
                outcomes.append(_run(workload, target.process, as_json=as_json))
    return Exit.FINE if all(outcomes) else Exit.FAILED


def _run(workload: Workload, process: ServerProcess | None, *, as_json: bool) -> bool:
    line = LiveLine()
    try:
        outcome = run_workload(workload, process, line.show)
    finally:
        line.clear()
    click.echo(outcome.to_json() if as_json else "\n" + "\n".join(block(outcome)))
    return outcome.is_intact


def _introduce(target: _Target) -> None:
    click.echo(machine())
    if target.cpus:
        click.echo(f"its own server on CPU {target.cpus[0]}, the load on CPU {target.cpus[1]}")
    elif target.process is None:
        click.echo(f"server at {target.place.url}; with --pid its CPU and memory would be known too")
    else:
        click.echo(f"server at {target.place.url}, process {target.process.pid}")


# -- The server -------------------------------------------------------------------------------------------------------


@contextmanager
def _target(url: str | None, asked: dict[str, Any]) -> Iterator[_Target]:
    if url is None:
        if asked["pid"] is not None:
            raise MisuseError(f"--pid={asked['pid']} goes with a URL; without one bench starts a server itself")
        cpus = pinning() if asked["pin"] else None
        with own_server(_split(asked["serve_flags"]), cpus[0] if cpus else None) as (pid, port):
            process = ServerProcess(pid) if readable(pid) else None
            yield _Target(ClientAddress(False, "127.0.0.1", port, _TOPIC), process, cpus)
        return
    if asked["serve_flags"]:
        raise MisuseError(f"--serve={asked['serve_flags']!r} is for the server that bench starts; leave the URL out")
    place = client_address(url, pubsub_addr=os.environ.get("PUBSUB_ADDR"))
    if place.secure:
        raise MisuseError(f"url={url!r}: the load speaks no TLS; give the ws:// address behind it")
    if asked["pid"] is not None and not readable(asked["pid"]):
        raise MisuseError(f"--pid={asked['pid']} is no process whose CPU and memory can be read from here")
    yield _Target(place, ServerProcess(asked["pid"]) if asked["pid"] is not None else None)


def _split(flags: str) -> list[str]:
    try:
        return shlex.split(flags)
    except ValueError as error:
        raise MisuseError(f"--serve={flags!r} cannot be split into flags: {error}; quote as a shell has it") from error


def _look_up(place: ClientAddress) -> str:
    """The first of its addresses at which somebody listens."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise PubSubError(f"cannot find {place.host}: {error.strerror}") from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    return next((each for each in addresses[:-1] if _listens(each, place.port)), addresses[-1])


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=_LOOK_SECONDS).close()
    except OSError:
        return False
    return True


def _allow_descriptors(connections: int) -> None:
    needed = connections + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed <= hard or (soft < needed and hard == resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    elif soft < needed:
        raise ConfigError(
            f"{connections} connections need {needed} descriptors, and this process may have {hard}; "
            f"ask for fewer, or raise the limit with `ulimit -n {needed}`"
        )


# -- The workloads ----------------------------------------------------------------------------------------------------


def _check_pace(asked: dict[str, Any]) -> None:
    given = [f"--{name}" for name in ("rate", "window", "unthrottled", "storm") if asked[name]]
    if len(given) > 1:
        raise MisuseError(f"{' and '.join(given)} exclude each other: a load has one pace")
    if asked["messages"] is not None and asked["seconds"] is not None:
        raise MisuseError("--messages and --duration exclude each other: one of them ends a run")


def _workloads(host: str, place: ClientAddress, asked: dict[str, Any]) -> Sequence[Workload]:
    try:
        return workloads(_plan(host, place, asked), storm=asked["storm"], unthrottled=asked["unthrottled"])
    except EngineMisuseError as error:
        raise MisuseError(str(error)) from error


def _plan(host: str, place: ClientAddress, asked: dict[str, Any]) -> Plan:
    subscribers = asked["subscribers"]
    if subscribers is None:
        subscribers = _STORM_CONNECTIONS if asked["storm"] else _SUBSCRIBERS
    publishers = asked["topics"] if asked["publishers"] is None else asked["publishers"]
    seconds = _SECONDS if asked["seconds"] is None and asked["messages"] is None else asked["seconds"]
    path, mark, query = place.target.partition("?")
    return Plan(
        host=host,
        port=place.port,
        path=_TOPIC if path == "/" else path,
        query=mark + query,
        headers=_headers(place, asked["headers"]),
        subscribers=subscribers,
        publishers=publishers,
        topics=asked["topics"],
        visitors=_part_of(subscribers, asked["visitors"]),
        slow=_part_of(subscribers, asked["slow"]),
        stalled=_part_of(subscribers, asked["stalled"]),
        stay_seconds=asked["stay"],
        slow_bytes_per_second=float(asked["slow_rate"]),
        messages=asked["messages"],
        seconds=seconds,
        least_bytes=asked["sizes"][0],
        most_bytes=asked["sizes"][1],
        text=asked["text"],
        rate=asked["rate"],
        window=asked["window"],
        connecting=asked["connecting"],
        ramp_up_seconds=asked["ramp_up"],
        patience_seconds=asked["patience"],
    )


def _headers(place: ClientAddress, given: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    host = () if any(name.lower() == "host" for name, _ in given) else (("Host", place.host_header),)
    return (*host, *given)


def _part_of(whole: int, part: float) -> int:
    return round(whole * -part) if part < 0 else int(part)

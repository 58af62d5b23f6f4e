"""Network namespaces of a test's own, without names: the kernel takes them away with the last descriptor of theirs.

So there is nothing to tidy up, whatever ends the test. What is made inside `with namespace:` (a socket, a process, an
interface) belongs to the namespace for good; the block is for one thread, and must not be left by an `await`.

    Namespace ── veth ── Namespace      cut off, as by a cable that is pulled or a firewall that drops: cables.py
    Namespace ── wire ── Namespace      late and lossy: wires.py

Where there is no right to make them, or no `ip`, `missing()` says so.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.support.rawclient import PATIENCE, RawClient

__all__ = ["Namespace", "dial_from", "joined_by_veth", "listening", "missing", "namespaces", "retransmitted", "run"]

_CLONE_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """What is missing for all this; empty when all is there."""
    if shutil.which("ip") is None:
        return "ip (iproute2)"
    try:
        Namespace().close()
    except (OSError, AssertionError) as error:
        return f"the right to make a network namespace ({error})"
    return ""


class Namespace:
    """One with nothing but a loopback interface, which is up; or the one that this thread is in."""

    def __init__(self, *, here: bool = False) -> None:
        self.fileno = os.open(_HERE, os.O_RDONLY) if here else _new_namespace()
        self._outside: list[int] = []
        if here:
            return
        try:
            with self:
                run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        self._outside.append(os.open(_HERE, os.O_RDONLY))
        _enter(self.fileno)
        return self

    def __exit__(self, *_: object) -> None:
        outside = self._outside.pop()
        _enter(outside)
        os.close(outside)

    def close(self) -> None:
        os.close(self.fileno)


def _new_namespace() -> int:
    made: list[int | OSError] = []
    # A thread's namespace is its own: it makes one, and takes only a descriptor of it along.
    thread = threading.Thread(target=lambda: made.append(_unshared()))
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _unshared() -> int | OSError:
    if _libc.unshare(_CLONE_NEWNET) != 0:
        return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return os.open(_HERE, os.O_RDONLY)


def _enter(fileno: int) -> None:
    if _libc.setns(fileno, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    made: list[Namespace] = []
    try:
        while len(made) < count:
            made.append(Namespace())
        yield made
    finally:
        for namespace in made:
            namespace.close()


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


def joined_by_veth(one: Namespace, other: Namespace, name: str, net: str) -> None:
    """A cable `name` between the two: `one` has the address `net`.1, `other` has `net`.2."""
    with one:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", _path(other))
    for namespace, address in ((one, f"{net}.1/24"), (other, f"{net}.2/24")):
        with namespace:
            run("ip", "addr", "add", address, "dev", name)
            run("ip", "link", "set", name, "up")


def _path(namespace: Namespace) -> str:
    return f"/proc/{os.getpid()}/fd/{namespace.fileno}"


def retransmitted(namespace: Namespace) -> int:
    """TCP segments that had to be sent once more from in there."""
    with namespace:
        names, values = (
            line.split()
            for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
            if line.startswith("Tcp:")
        )
    return int(values[names.index("RetransSegs")])


def listening(namespace: Namespace, address: str = "0.0.0.0") -> socket.socket:
    with namespace:
        return socket.create_server((address, 0), backlog=100)


async def dial_from(namespace: Namespace, host: str, port: int, *, receive_buffer: int | None = None) -> RawClient:
    with namespace:
        sock = socket.socket()
    return await RawClient.dial(port, host, receive_buffer=receive_buffer, sock=sock)

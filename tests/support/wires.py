"""Bad wires between two network namespaces: packets come late, and not all of them.

    netem_wire   the kernel's own (sch_netem) on a pair of veth interfaces; not every kernel has it
    tun_wire     two TUN interfaces, and a thread that carries packets from one to the other, after a while or never
"""

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.namespaces import Namespace, joined_by_veth, missing, namespaces, run

__all__ = ["Badness", "missing_netem", "missing_tun", "netem_wire", "tun_wire"]

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x1, 0x1000
_PACKET_BYTES = 1 << 16


@dataclass(frozen=True)
class Badness:
    """Of each direction. Packets keep their order, as they mostly do."""

    delay_seconds: float
    loss: float


# --- the kernel's ---------------------------------------------------------------------------------------------------


def _netem(*arguments: str) -> tuple[str, ...]:
    return ("tc", "qdisc", "add", "dev", *arguments)


def missing_netem() -> str:
    if missing():
        return missing()
    with namespaces(1) as (place,), place:
        try:
            done = subprocess.run(_netem("lo", "root", "netem", "loss", "1%"), capture_output=True, text=True)
        except FileNotFoundError:
            return "tc (iproute2)"
    return "" if done.returncode == 0 else f"sch_netem ({done.stderr.strip()})"


@contextlib.contextmanager
def netem_wire(one: Namespace, other: Namespace, net: str, badness: Badness, random_: random.Random) -> Iterator[None]:
    """`one` has the address `net`.1, `other` has `net`.2."""
    joined_by_veth(one, other, "wire", net)
    delay, loss = f"{badness.delay_seconds * 1000:g}ms", f"{badness.loss * 100:g}%"
    for place in (one, other):
        with place:
            run(*_netem("wire", "root", "netem", "delay", delay, "loss", loss, "seed", str(random_.randrange(1 << 30))))
    yield


# --- our own --------------------------------------------------------------------------------------------------------


def missing_tun() -> str:
    if missing():
        return missing()
    with namespaces(1) as (place,):
        try:
            os.close(_tun(place))
        except OSError as error:
            return f"/dev/net/tun ({error})"
    return ""


def _tun(place: Namespace) -> int:
    """A TUN interface `wire` in there, which is gone with this descriptor of it."""
    with place:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", b"wire", _IFF_TUN | _IFF_NO_PI))
        except OSError:
            os.close(fd)
            raise
    return fd


@contextlib.contextmanager
def tun_wire(one: Namespace, other: Namespace, net: str, badness: Badness, random_: random.Random) -> Iterator[None]:
    """`one` has the address `net`.1, `other` has `net`.2."""
    with contextlib.ExitStack() as stack:
        ends: list[int] = []
        for place, address in ((one, f"{net}.1"), (other, f"{net}.2")):
            ends.append(_tun(place))
            stack.callback(os.close, ends[-1])
            with place:
                run("ip", "addr", "add", f"{address}/24", "dev", "wire")
                run("ip", "link", "set", "wire", "up")
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        carrier = threading.Thread(target=_carry, args=(ends, reading, badness, random_), name="wire")
        carrier.start()
        try:
            yield
        finally:
            os.close(writing)
            carrier.join()


def _carry(ends: list[int], ended: int, badness: Badness, random_: random.Random) -> None:
    """Packets from each end to the other, until `ended` can be read."""
    across = dict(zip(ends, reversed(ends), strict=True))
    on_the_way: list[tuple[float, int, int, bytes]] = []
    order = itertools.count()
    poll = select.poll()
    for fd in (*ends, ended):
        poll.register(fd, select.POLLIN)
    while True:
        patience = None if not on_the_way else max(0.0, on_the_way[0][0] - time.monotonic()) * 1000
        ready = [fd for fd, _ in poll.poll(patience)]
        if ended in ready:
            return
        for fd in ready:
            with contextlib.suppress(BlockingIOError):
                packet = os.read(fd, _PACKET_BYTES)
                if random_.random() >= badness.loss:
                    due = time.monotonic() + badness.delay_seconds
                    heapq.heappush(on_the_way, (due, next(order), across[fd], packet))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, _, fd, packet = heapq.heappop(on_the_way)
            with contextlib.suppress(OSError):  # a full queue loses packets, as queues do
                os.write(fd, packet)

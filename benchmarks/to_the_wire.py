"""How long from publish() in a program to the message at a subscriber: ``python -m benchmarks.to_the_wire``.

A program with a server inside publishes at a steady rate, from its event loop or from a thread of its own, with I/O
threads and without. One subscriber on loopback notes when each message has arrived; both read the one clock that the
machine has. Beside it a program that sends with a plain send(), to which everything else is to be compared: what that
takes is the kernel's, and the receiver's waking up.

What makes it lie: other work on the machine, so ways are run in turn, again and again, and each figure is the median of
its rounds, with the least and the most; a receiver that is slower than the rate; cores that sleep deeply between two
messages, which hits all ways alike. Server and receiver have a core each, unless --spread lets the server have both:
an I/O thread on a core of its own need not wait until the publisher's thread lets go of it.
"""

import argparse
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

__all__ = ["PAYLOAD_BYTES", "TOPIC", "at"]

TOPIC = "/wire"
PAYLOAD_BYTES = 64
FRAME_BYTES = 2 + PAYLOAD_BYTES
ROOT = Path(__file__).parents[1]
CPUS = sorted(os.sched_getaffinity(0))
START_SECONDS = 10.0

# A name for the table, and the program's arguments.
WAYS = {
    "bare send()": ("--way", "bare"),
    "io_threads=0, loop": ("--way", "io0"),
    "io_threads=1, loop": ("--way", "io1"),
    "io_threads=0, thread": ("--way", "io0", "--thread"),
    "io_threads=1, thread": ("--way", "io1", "--thread"),
}
REQUEST = (
    f"GET {TOPIC} HTTP/1.1\r\nHost: wire\r\nUpgrade: websocket\r\nConnection: Upgrade\r\npubsub: subscriber\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()


def at(values_ns: Sequence[int], share: float) -> float:
    """The value, in microseconds, below which that share of them lies."""
    return sorted(values_ns)[min(len(values_ns) - 1, int(share * len(values_ns)))] / 1000


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def subscribed(port: int) -> socket.socket:
    """A connection that has its 101, as soon as there is somebody to give it."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), START_SECONDS)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    sock.sendall(REQUEST)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    sock.settimeout(None)  # with one, MSG_WAITALL would not wait
    return sock


def arrivals(sock: socket.socket, count: int) -> list[int]:
    """Nanoseconds from publish() to here, of so many messages."""
    took_ns = []
    for _ in range(count):
        frame = sock.recv(FRAME_BYTES, socket.MSG_WAITALL)
        arrived_ns = time.monotonic_ns()
        if len(frame) < FRAME_BYTES:
            raise ConnectionError("the program went before it had published everything")
        took_ns.append(arrived_ns - struct.unpack_from("<Q", frame, 2)[0])
    return took_ns


def run(way: Sequence[str], rate: float, seconds: float, cpus: Sequence[int]) -> tuple[float, float, float, float]:
    """p50 and p99 of arriving, and of publish() itself; microseconds."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.programs.publishing", str(port), *way]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            os.sched_setaffinity(program.pid, cpus)
            with subscribed(port) as sock:
                took_ns = arrivals(sock, int(rate * seconds))
                assert program.stdout is not None
                calls = program.stdout.readline().split()
        except BaseException:
            program.kill()
            raise
    return at(took_ns, 0.5), at(took_ns, 0.99), float(calls[0]), float(calls[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spread", action="store_true", help="the server may use the receiver's core, too")
    arguments = parser.parse_args()
    server_cpus = CPUS if arguments.spread else CPUS[:1]
    os.sched_setaffinity(0, CPUS[-1:])
    rounds: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        for name, way in WAYS.items():
            rounds[name].append(run(way, arguments.rate, arguments.seconds, server_cpus))
    print(f"{arguments.rate:g} messages a second, {arguments.rounds} rounds of {arguments.seconds:g} s, microseconds;")
    print(f"load average {os.getloadavg()[0]:.1f}; the server has {len(server_cpus)} of {len(CPUS)} cores")
    print(f"{'':24}{'p50':>18}{'p99':>20}{'call p50':>10}{'call p99':>10}")
    for name, figures in rounds.items():
        p50, p99, call_p50, call_p99 = zip(*figures, strict=True)
        print(f"{name:24}{shown(p50):>18} {shown(p99):>19}", end="")
        print(f"{statistics.median(call_p50):10.1f}{statistics.median(call_p99):10.1f}")
    return 0


def shown(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


if __name__ == "__main__":
    sys.exit(main())

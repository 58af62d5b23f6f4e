"""A program with a server inside that publishes by itself: ``publishing.py PORT --way io0|io1|bare [--thread] ...``.

Each message begins with the time at which publish() was called, of the clock that all processes share. At the end it
prints how long those calls took, median and 99th percentile, in microseconds. ``bare`` has no server: one client, to
whom each message is sent with a plain send().
"""

import argparse
import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable

import pubsub
from benchmarks.to_the_wire import PAYLOAD_BYTES, TOPIC, at

Send = Callable[[bytes], object]


class Pace:
    """So many messages a second, each sent when it is due; how long sending took."""

    def __init__(self, rate: float, seconds: float, send: Send) -> None:
        self.began, self.rate, self.count, self.send = time.monotonic() + 0.1, rate, int(rate * seconds), send
        self.took_ns: list[int] = []

    def wait_seconds(self) -> float:
        return max(0.0, self.began + len(self.took_ns) / self.rate - time.monotonic())

    def send_next(self) -> None:
        called_ns = time.monotonic_ns()
        self.send(struct.pack("<Q", called_ns).ljust(PAYLOAD_BYTES, b"."))
        self.took_ns.append(time.monotonic_ns() - called_ns)

    def run(self) -> None:
        for _ in range(self.count):
            time.sleep(self.wait_seconds())
            self.send_next()

    async def run_in_loop(self) -> None:
        for _ in range(self.count):
            await asyncio.sleep(self.wait_seconds())
            self.send_next()

    def show(self) -> None:
        print(f"{at(self.took_ns, 0.5):.1f} {at(self.took_ns, 0.99):.1f}", flush=True)


def run_bare(port: int, rate: float, seconds: float) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener:
        sock, _ = listener.accept()
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not sock.recv(4096).endswith(b"\r\n\r\n"):
                continue
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            pace = Pace(rate, seconds, lambda payload: sock.send(bytes([0x82, len(payload)]) + payload))
            pace.run()
            pace.show()
            sock.recv(1)


async def run_server(port: int, rate: float, seconds: float, io_threads: int, thread: bool) -> None:
    # No pings: the subscriber expects nothing but messages.
    options = pubsub.Options(io_threads=io_threads, ping_interval=3600.0)
    async with pubsub.serve("127.0.0.1", port, options=options) as server:
        events = server.events()
        while (await anext(events)).type is not pubsub.EventType.SUBSCRIBER_JOINED:
            continue
        pace = Pace(rate, seconds, lambda payload: server.publish(TOPIC, payload))
        if thread:
            publisher = threading.Thread(target=pace.run)
            publisher.start()
            await asyncio.to_thread(publisher.join)
        else:
            await pace.run_in_loop()
        pace.show()
        await anext(events)  # it leaves when it has everything


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--way", choices=["bare", "io0", "io1"], required=True)
    parser.add_argument("--thread", action="store_true")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    if arguments.way == "bare":
        run_bare(arguments.port, arguments.rate, arguments.seconds)
    else:
        io_threads = int(arguments.way.removeprefix("io"))
        asyncio.run(run_server(arguments.port, arguments.rate, arguments.seconds, io_threads, arguments.thread))


if __name__ == "__main__":
    main()

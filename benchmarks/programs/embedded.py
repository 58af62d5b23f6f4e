"""A program with a server inside that does other things as well: ``embedded.py PORT [--io-threads N] [--hold ...]``.

Another thread is at work for a second, every three. It holds the GIL meanwhile, in a C function that does not let go of
it (`asleep`) or in Python with a switch interval longer than the hold (`spinning`); or it spins as long in a C function
that lets go of it (`nothing`).
"""

import argparse
import asyncio
import ctypes
import hashlib
import os
import signal
import sys
import threading
import time

import pubsub

HOLD_SECONDS = 1.0
EVERY_SECONDS = 3.0
# Hashing lets go of the GIL; so much takes some milliseconds, between which it is taken for a moment.
HASHED = bytes(8 << 20)


def hold_asleep() -> None:
    # PyDLL keeps the GIL during the call; CDLL would let go of it.
    ctypes.PyDLL(None).usleep(int(HOLD_SECONDS * 1e6))


def hold_spinning() -> None:
    end = time.monotonic() + HOLD_SECONDS
    while time.monotonic() < end:
        pass


def hold_nothing() -> None:
    end = time.monotonic() + HOLD_SECONDS
    while time.monotonic() < end:
        hashlib.sha256(HASHED)


HOLDS = {"asleep": hold_asleep, "spinning": hold_spinning, "nothing": hold_nothing}


def hold_again_and_again(hold: str, cpu: int | None) -> None:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})  # of this thread
    sys.setswitchinterval(10 * HOLD_SECONDS)
    while True:
        time.sleep(EVERY_SECONDS - HOLD_SECONDS)
        HOLDS[hold]()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--io-threads", type=int, default=1)
    parser.add_argument("--hold", choices=list(HOLDS))
    parser.add_argument("--hold-cpu", type=int)
    arguments = parser.parse_args()
    if arguments.hold:
        holding = [arguments.hold, arguments.hold_cpu]
        threading.Thread(target=hold_again_and_again, args=holding, daemon=True).start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    options = pubsub.Options(io_threads=arguments.io_threads)
    async with pubsub.serve("127.0.0.1", arguments.port, options=options):
        await stopped.wait()


asyncio.run(main())

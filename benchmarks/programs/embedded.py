"""A program with a server inside that does other things as well: ``embedded.py PORT [--hold asleep|spinning]``.

Another thread holds the GIL for a second, every three: in a C function that does not let go of it, or in Python with a
switch interval longer than the hold.
"""

import argparse
import asyncio
import ctypes
import signal
import sys
import threading
import time

import pubsub

HOLD_SECONDS = 1.0
EVERY_SECONDS = 3.0


def hold_asleep() -> None:
    # PyDLL keeps the GIL during the call; CDLL would let go of it.
    ctypes.PyDLL(None).usleep(int(HOLD_SECONDS * 1e6))


def hold_spinning() -> None:
    end = time.monotonic() + HOLD_SECONDS
    while time.monotonic() < end:
        pass


def hold_again_and_again(hold: str) -> None:
    sys.setswitchinterval(10 * HOLD_SECONDS)
    while True:
        time.sleep(EVERY_SECONDS - HOLD_SECONDS)
        hold_asleep() if hold == "asleep" else hold_spinning()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--hold", choices=["asleep", "spinning"])
    arguments = parser.parse_args()
    if arguments.hold:
        threading.Thread(target=hold_again_and_again, args=[arguments.hold], daemon=True).start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with pubsub.serve("127.0.0.1", arguments.port):
        await stopped.wait()


asyncio.run(main())

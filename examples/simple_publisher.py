"""Publish a message a second, ten of them.

    fastpubsub serve
    python simple_publisher.py [URL]         the default: ws://127.0.0.1:8080/clock
"""

import asyncio
import sys
import time

from pubsub import Publisher


async def main(url: str) -> None:
    async with Publisher(url) as publisher:
        for number in range(1, 11):
            await publisher.publish(f"{number}: it is {time.strftime('%H:%M:%S')}")
            print(f"published {number}", flush=True)
            await asyncio.sleep(1)
        await publisher.flush()  # now the server has all of it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/clock"))

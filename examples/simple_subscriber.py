"""Print what is published to a topic, until the server ends.

    python simple_subscriber.py [URL]        the default: ws://127.0.0.1:8080/clock
"""

import asyncio
import sys

from pubsub import Subscriber


async def main(url: str) -> None:
    async with Subscriber(url, text=True) as subscriber:
        print(f"subscribed to {url}", flush=True)
        async for message in subscriber:
            print(message if isinstance(message, str) else f"{len(message)} bytes", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/clock"))

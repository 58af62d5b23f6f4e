"""websockets on uvloop, with websockets.broadcast().

    python websockets_server.py PORT

Broadcasting holds no publisher back: what a subscriber does not take piles up in its transport, until it is closed for
not answering a ping (by default there is one every 20 s, with 20 s for the answer).
"""

# mypy: disable-error-code="import-not-found"

import asyncio
import signal
import sys
from collections import defaultdict
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosedError

MAX_MESSAGE_BYTES = 16 << 20  # the default is 1 MiB

subscribers: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def handle(connection: ServerConnection) -> None:
    assert connection.request is not None
    topic = subscribers[connection.request.path]
    if connection.request.headers["pubsub"] == "publisher":
        with suppress(ConnectionClosedError):
            async for message in connection:
                broadcast(topic, message)
        return
    topic.add(connection)
    try:
        await connection.wait_closed()
    finally:
        topic.remove(connection)


async def main(port: int) -> None:
    # Compression is on by default.
    async with serve(handle, "127.0.0.1", port, compression=None, max_size=MAX_MESSAGE_BYTES) as server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sys.exit, 0)
        await server.wait_closed()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

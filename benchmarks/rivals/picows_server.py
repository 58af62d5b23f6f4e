"""picows on uvloop: a set of transports and a send on each, as its broadcasting example has it.

    python picows_server.py PORT

send() copies the payload behind the frame's head for every subscriber; send_reuse_external_bytearray(), which picows
recommends against copying, writes the head in front of the payload where it lies, so that a message is copied once.
Nothing holds publishers back, and pings are off by default: what a subscriber does not take piles up in its transport.
"""

# mypy: disable-error-code="import-not-found,misc"

import asyncio
import signal
import sys
from collections import defaultdict

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

MAX_FRAME_BYTES = 16 << 20  # the default is 10 MiB
HEAD_BYTES = 14  # what picows wants free in front of a payload

subscribers: defaultdict[bytes, set[WSTransport]] = defaultdict(set)


class Client(WSListener):
    """One connection."""

    def __init__(self, request: WSUpgradeRequest) -> None:
        super().__init__()
        self._topic = subscribers[request.path]
        self._publishes = request.headers["pubsub"] == "publisher"

    def on_ws_connected(self, transport: WSTransport) -> None:
        if not self._publishes:
            self._topic.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._topic.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif self._publishes and frame.fin and kind in (WSMsgType.BINARY, WSMsgType.TEXT):
            # Joining fragments is the application's business in picows, and the load sends none.
            payload = bytearray(HEAD_BYTES) + frame.get_payload_as_memoryview()
            for subscriber in self._topic:
                subscriber.send_reuse_external_bytearray(kind, payload, HEAD_BYTES)


async def main(port: int) -> None:
    server = await ws_create_server(Client, "127.0.0.1", port, max_frame_size=MAX_FRAME_BYTES)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sys.exit, 0)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

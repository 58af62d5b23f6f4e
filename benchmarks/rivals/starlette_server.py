"""Starlette under uvicorn on uvloop: a set of connections and an awaited send on each.

    python starlette_server.py PORT

That is how FastAPI's documentation broadcasts. A send waits while its connection's buffer is full, so one subscriber
that does not read holds up all others, and the publisher, until it is closed for not answering a ping (by default there
is one every 20 s, with 20 s for the answer). Of uvicorn's implementations of WebSocket, websockets-sansio was the
fastest: 160,000 deliveries a second to 100 subscribers, where wsproto had 114,000 and websockets 100,000.
"""

# mypy: disable-error-code="import-not-found"

import sys
from collections import defaultdict

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

subscribers: defaultdict[str, set[WebSocket]] = defaultdict(set)


async def broadcast(topic: set[WebSocket], message: dict[str, object]) -> None:
    for subscriber in topic.copy():
        try:
            await subscriber.send(message)
        except WebSocketDisconnect:
            topic.discard(subscriber)


async def handle(socket: WebSocket) -> None:
    await socket.accept()
    topic = subscribers[socket.url.path]
    publishes = socket.headers["pubsub"] == "publisher"
    if not publishes:
        topic.add(socket)
    while (message := await socket.receive())["type"] == "websocket.receive":
        if publishes:
            await broadcast(topic, {**message, "type": "websocket.send"})
    topic.discard(socket)


app = Starlette(routes=[WebSocketRoute("/{topic:path}", handle)])

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # on by default
        log_level="warning",
    )

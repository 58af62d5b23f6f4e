"""A hub in Starlette, with a route that decides who may have which topic.

    pip install fastfan starlette "uvicorn[standard]"
    uvicorn --app-dir examples starlette_live:app
    fastpubsub sub ws://127.0.0.1:8000/live/news                       # anybody
    fastpubsub sub 'ws://127.0.0.1:8000/rooms/blue?token=open-sesame'  # who has the word
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from pubsub import Hub

hub = Hub()


async def publish(request: Request) -> JSONResponse:
    offset = hub.publish("/news", await request.body())
    return JSONResponse({"offset": offset})


async def room(websocket: WebSocket) -> None:
    if websocket.query_params.get("token") != "open-sesame":
        await websocket.close(1008, "a token, please")
        return
    topic = "/rooms/" + websocket.path_params["room"]
    await hub.handle(websocket.scope, websocket.receive, websocket.send, topic=topic, role="duplex")


app = Starlette(
    lifespan=hub.lifespan,
    routes=[
        Route("/news", publish, methods=["POST"]),
        WebSocketRoute("/rooms/{room}", room),
        Mount("/live", hub),
    ],
)

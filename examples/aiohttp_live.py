"""A hub in aiohttp.

    pip install fastfan aiohttp
    python examples/aiohttp_live.py 8000
    fastpubsub sub ws://127.0.0.1:8000/live/news
    curl -d "hello" http://127.0.0.1:8000/news
"""

import sys

from aiohttp import web

import pubsub.aiohttp
from pubsub import Hub

hub = Hub()


async def publish(request: web.Request) -> web.Response:
    offset = hub.publish("/news", await request.text())
    return web.json_response({"offset": offset})


app = web.Application()
app.router.add_post("/news", publish)
pubsub.aiohttp.mount(app, "/live", hub)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)

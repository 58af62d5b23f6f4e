"""A hub in a web application, under uvicorn on uvloop: ``mounted.py PORT [--listen]``.

The application is on that port, with the hub for all of it; with --listen the port is the hub's own, and the
application is on another. uvicorn's settings are those of rivals/starlette_server.py, which broadcasts as Starlette's
and FastAPI's documentation do.
"""

import argparse
import contextlib
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from pubsub import Hub

hub = Hub()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--listen", action="store_true")
    arguments = parser.parse_args()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with hub, contextlib.AsyncExitStack() as stack:
            if arguments.listen:
                await stack.enter_async_context(hub.listen(port=arguments.port))
            yield

    uvicorn.run(
        Starlette(routes=[Mount("/", hub)], lifespan=lifespan),
        host="127.0.0.1",
        port=0 if arguments.listen else arguments.port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

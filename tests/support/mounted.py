"""A web application with a hub below /live, under any of the web servers, in a process of its own.

    python -m tests.support.mounted uvicorn 8000 '{"max_lag_bytes": 1000000}'

GET /stats are the hub's, POST /publish?topic=/a publishes the body.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from pubsub import Hub, Options
from tests.support.processes import PATIENCE_SECONDS, Program

__all__ = ["SERVERS", "Mounted", "mounted"]

_ROOT = Path(__file__).parents[2]
_OPTIONS = "MOUNTED_OPTIONS"


def make_app(options: Options) -> Starlette:
    hub = Hub(options)

    async def stats(_request: Request) -> Response:
        return PlainTextResponse(hub.stats().to_json(), media_type="application/json")

    async def publish(request: Request) -> Response:
        return JSONResponse(hub.publish(request.query_params["topic"], await request.body()))

    routes = [Route("/stats", stats), Route("/publish", publish, methods=["POST"]), Mount("/live", hub)]
    return Starlette(routes=routes, lifespan=hub.lifespan)


# --- the servers ----------------------------------------------------------------------------------------------------


def _uvicorn(websockets: str) -> Callable[[int], None]:
    def run(port: int) -> None:
        import uvicorn

        uvicorn.run(_app(), port=port, ws=websockets, log_level="error", timeout_graceful_shutdown=5)

    return run


def _hypercorn(port: int) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.websocket_max_message_size = 1 << 24
    asyncio.run(serve(_app(), config))  # type: ignore[arg-type]


def _granian(port: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces

    # It imports the application in a process of its own.
    Granian(f"{__spec__.name}:app", port=port, interface=Interfaces.ASGI, workers_kill_timeout=5).serve()


SERVERS: dict[str, Callable[[int], None]] = {
    "uvicorn": _uvicorn("websockets-sansio"),
    "uvicorn-wsproto": _uvicorn("wsproto"),
    "hypercorn": _hypercorn,
    "granian": _granian,
}


def _app() -> Starlette:
    return make_app(Options(**json.loads(os.environ.get(_OPTIONS, "{}"))))


def __getattr__(name: str) -> Any:
    # For granian, which names its application; nothing else should make one by importing this.
    if name == "app":
        return _app()
    raise AttributeError(name)


# --- for tests ------------------------------------------------------------------------------------------------------


class Mounted:
    """One of them, running."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/live"

    def ask(self, target: str, body: bytes | None = None) -> Any:
        """The answer's JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET" if body is None else "POST", target, body)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def wait_stats(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The stats, once they are so."""
        ends = monotonic() + PATIENCE_SECONDS
        while not holds(stats := self.ask("/stats")):
            assert monotonic() < ends, f"not so within {PATIENCE_SECONDS:g} s: {stats}"
            sleep(0.01)
        return dict(stats)


@contextmanager
def mounted(server: str, **options: Any) -> Iterator[Mounted]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {"PYTHONPATH": path, _OPTIONS: json.dumps(options)}
    with Program("-m", "tests.support.mounted", server, str(port), environment=environment) as program:
        running = Mounted(program, port)
        ends = monotonic() + PATIENCE_SECONDS
        while True:
            try:
                running.ask("/stats")
                break
            except (ConnectionRefusedError, ConnectionResetError, RemoteDisconnected):
                assert monotonic() < ends, f"{server} does not listen: {program.finish()}"
                sleep(0.02)
        yield running


if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))

"""A hub in an aiohttp application: `pubsub.aiohttp.mount(app, "/live", hub)`.

Apart from the rest, because fastfan does not require aiohttp: nothing else imports this.
"""

import asyncio
from typing import TYPE_CHECKING

from aiohttp import WebSocketError, WSMsgType, web

from pubsub.asgi import without_root
from pubsub.channel import Gone
from pubsub.closing import ABNORMAL, RESTART
from pubsub.handshake import Headers, Refusal, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pubsub.hub import Hub
    from pubsub.options import Options

__all__ = ["handler", "mount"]

# After 1012 a client has so long to have closed, seconds, from when its socket took the Close.
_GRACE = 0.5
_LOOK_EVERY = 0.01


def mount(app: web.Application, prefix: str, hub: "Hub") -> None:
    """Serves the hub's topics below `prefix`. When the application shuts down its clients are closed, and the hub ends,
    where no other application or `async with` has it."""
    wires: set[_Wire] = set()
    begun = False

    async def term(app: web.Application) -> "AsyncIterator[None]":
        nonlocal begun
        await hub.__aenter__()
        begun = True
        yield
        # Where something else failed to start there was no shutdown.
        await end(app)

    async def end(_app: web.Application) -> None:
        nonlocal begun
        if begun:
            begun = False
            await hub.leave(wires)

    app.router.add_route("*", prefix.rstrip("/") + "{topic:(/.*)?}", _handler(hub, wires))
    app.cleanup_ctx.append(term)
    # Before aiohttp waits for its handlers, of which each client's is one.
    app.on_shutdown.append(end)


def handler(hub: "Hub") -> "Callable[[web.Request], Awaitable[web.StreamResponse]]":
    """A request handler for a route whose end is the topic: `app.router.add_get("/live{topic:/.*}", handler(hub))`."""
    return _handler(hub, set())


def _handler(hub: "Hub", wires: "set[_Wire]") -> "Callable[[web.Request], Awaitable[web.StreamResponse]]":
    """`wires` are those of the clients that it serves just now."""

    async def serve(request: web.Request) -> web.StreamResponse:
        wire = _Wire(request, hub.options)
        if web.WebSocketResponse().can_prepare(request):
            wires.add(wire)
            try:
                await hub.welcome(wire, _to_request(request), peer=request.remote)
            finally:
                wires.discard(wire)
        else:
            await wire.refuse(hub.refusal(_to_request(request), request.method))
        return wire.response

    return serve


def _to_request(request: web.Request) -> Request:
    path = request.rel_url.raw_path.encode("ascii")
    topic = request.match_info.get("topic")
    if topic is not None:
        path = without_root(path, request.path.removesuffix(topic)) or path
    query = request.rel_url.raw_query_string
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    return Request(
        path.decode("ascii") + ("?" + query if query else ""),
        request.host,
        [(name.lower(), value) for name, value in request.raw_headers],
        tuple(each for each in (part.strip() for part in offered.split(",")) if each),
    )


class _Wire:
    """One client of aiohttp's. aiohttp pings it, and closes it where no pong comes."""

    def __init__(self, request: web.Request, options: "Options") -> None:
        self._request = request
        self._options = options
        self.response: web.StreamResponse = web.Response(status=500)

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        # Without compression: a frame is then the same for everybody.
        self.response = self._websocket = web.WebSocketResponse(
            protocols=() if subprotocol is None else (subprotocol,),
            # For the client's answer to a Close.
            timeout=self._options.close_deadline,
            # It refuses what is as large as that.
            max_msg_size=self._options.max_message_bytes + 1,
            heartbeat=self._options.ping_interval,
            compress=False,
        )
        for name, value in headers:
            self.response.headers[name.decode("ascii")] = value.decode("ascii")
        try:
            await self.response.prepare(self._request)
        except web.HTTPException as refusal:
            self.response = refusal
            raise ConnectionRefusedError(refusal.reason) from refusal

    async def refuse(self, refusal: Refusal) -> None:
        headers = {name.decode("ascii"): value.decode("ascii") for name, value in refusal.headers}
        self.response = web.Response(status=refusal.status, text=refusal.to_body().decode("ascii"), headers=headers)

    async def receive(self) -> bytes | str | Gone:
        message = await self._websocket.receive()
        if message.type is WSMsgType.BINARY or message.type is WSMsgType.TEXT:
            data: bytes | str = message.data
            return data
        if isinstance(message.data, WebSocketError):
            return Gone(message.data.code)
        return Gone(self._websocket.close_code or ABNORMAL)

    async def send(self, data: bytes | str) -> None:
        if isinstance(data, str):
            await self._websocket.send_str(data)
        else:
            await self._websocket.send_bytes(data)

    async def close(self, code: int, reason: str) -> None:
        closing = asyncio.ensure_future(self._websocket.close(code=code, message=reason.encode()[:123]))
        try:
            if code == RESTART:
                await self._take_leave(closing)
            else:
                await asyncio.wait([closing])
        finally:
            closing.cancel()
            await asyncio.wait([closing])
        if not closing.cancelled():
            closing.result()

    async def _take_leave(self, closing: "asyncio.Future[bool]") -> None:
        """The hub ends, most often with the application: aiohttp then throws away what a client sends, its Close too,
        and would wait for that. Without waiting at all, what it throws away could make the system drop our Close."""
        while not (await asyncio.wait([closing], timeout=_LOOK_EVERY))[0]:
            transport = self._request.transport
            if transport is None or not transport.get_write_buffer_size():
                await asyncio.wait([closing], timeout=_GRACE)
                return

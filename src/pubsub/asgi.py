"""ASGI 3: what a server tells of a client, as the rest of the package has it.

    scope   ──► Request: the topic's path, query, headers, subprotocols      request_of()
    receive ──► messages, and the end                                        AsgiWire
    send    ◄── the 101, a refusal, messages, a Close                        AsgiWire, answer_http()
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from pubsub.channel import Gone
from pubsub.errors import MisuseError
from pubsub.handshake import Headers, Refusal, Request, bad_request

__all__ = ["AsgiWire", "Receive", "Scope", "Send", "answer_http", "request_of", "without_root"]

# As servers and frameworks type them.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# RFC 3986 section 3.3: what stands in a path as it is.
_PATH_SAFE = "/!$&'()*+,;=:@~-._"
# A server closes with it where it gives a program no say (`websocket.close` before the 101 is a 403).
_REFUSED = 1008
_ACCEPTED = "this WebSocket was accepted already; a hub does that itself: leave out `await websocket.accept()`"


def request_of(scope: Scope, *, full_path: bool) -> Request | Refusal:
    """The request of a `websocket` or `http` scope. Its path is as it was escaped, without `root_path` unless
    `full_path`: what stands before a mount is the application's, and the topic is the same wherever it is mounted."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"], safe=_PATH_SAFE).encode("ascii")
    path = raw.partition(b"?")[0]
    if not full_path:
        path = _behind_mount(path, scope.get("root_path") or "", scope.get("app_root_path") or "")
    query: bytes = scope.get("query_string") or b""
    headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
    host = next((value for name, value in headers if name == b"host"), b"")
    try:
        target = (path + b"?" + query if query else path).decode("ascii")
    except UnicodeDecodeError:
        return bad_request("request target has bytes that are not ASCII; percent-encode them")
    return Request(target, host.decode("ascii", "backslashreplace"), headers, tuple(scope.get("subprotocols") or ()))


def _behind_mount(path: bytes, root: str, app_root: str) -> bytes:
    topic = without_root(path, root)
    if topic is None and app_root and root.startswith(app_root):
        # A proxy has taken the application's own root off the path, and only mounts within it are left (Starlette).
        topic = without_root(path, root[len(app_root) :])
    return topic or path or b"/"


def without_root(path: bytes, root: str) -> bytes | None:
    """What of an escaped path stands behind `root`, which is not escaped; None where that is not in front."""
    wanted = root.rstrip("/").encode()
    if not wanted:
        return path
    end = before = 0
    while end < len(path) and before <= len(wanted):
        end = path.find(b"/", end + 1)
        end = len(path) if end < 0 else end
        front = unquote_to_bytes(path[:end])
        if front == wanted:
            return path[end:] or b"/"
        before = len(front)
    return None


def _has_connected(receive: Receive) -> bool:
    """Whether it is the method of a Starlette WebSocket that has had its `websocket.connect`."""
    state = getattr(getattr(receive, "__self__", None), "client_state", None)
    return getattr(state, "name", "") == "CONNECTED"


class AsgiWire:
    """One client of a `websocket` scope."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._takes_responses = "websocket.http.response" in (scope.get("extensions") or {})
        self._receive = receive
        self._send = send

    async def _connect(self) -> None:
        if _has_connected(self._receive):
            # Nothing would come, until the client sends something.
            raise MisuseError(_ACCEPTED)
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise ConnectionResetError("the client left before it was answered")
        if message["type"] != "websocket.connect":
            raise MisuseError(_ACCEPTED)

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        await self._connect()
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)})

    async def refuse(self, refusal: Refusal) -> None:
        await self._connect()
        if self._takes_responses:
            await _respond(self._send, "websocket.http.response", refusal, refusal.headers)
        else:
            await self._send({"type": "websocket.close", "code": _REFUSED, "reason": refusal.body})

    async def receive(self) -> bytes | str | Gone:
        message = await self._receive()
        if message["type"] == "websocket.receive":
            data: bytes | None = message.get("bytes")
            text: str = message.get("text") or ""
            return text if data is None else bytes(data)
        return Gone(message.get("code") or 1005)

    async def send(self, data: bytes | str) -> None:
        await self._tell({"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data})

    async def close(self, code: int, reason: str) -> None:
        await self._tell({"type": "websocket.close", "code": code, "reason": reason})

    async def _tell(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            raise
        except Exception as error:
            # Starlette's WebSocket makes an error of its own of it.
            if isinstance(error.__context__, OSError):
                raise ConnectionResetError("the client has gone") from error
            raise


async def answer_http(scope: Scope, send: Send, refusal: Refusal) -> None:
    """A refusal as the answer to a request of an `http` scope."""
    # RFC 9113 section 8.2.2: an Upgrade header is for HTTP/1 alone.
    headers = refusal.headers if scope.get("http_version", "1.1").startswith("1") else ()
    await _respond(send, "http.response", refusal, headers, head_only=scope["method"] == "HEAD")


async def _respond(
    send: Send, kind: str, refusal: Refusal, headers: Iterable[tuple[bytes, bytes]], *, head_only: bool = False
) -> None:
    body = refusal.to_body()
    fields = [(name.lower(), value) for name, value in headers]
    fields += [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": fields})
    await send({"type": f"{kind}.body", "body": b"" if head_only else body})

"""From an ASGI scope to a request: the topic behind the mount, escaped as it came."""

from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from pubsub import asgi
from pubsub.asgi import request_of, without_root
from pubsub.handshake import Refusal, Request


def scope(
    path: str = "/live/a", raw_path: bytes | None = b"/live/a", root: str = "/live", **more: Any
) -> dict[str, Any]:
    raw = {} if raw_path is None else {"raw_path": raw_path}
    return {"type": "websocket", "path": path, "root_path": root, "headers": [(b"Host", b"h:1")], **raw, **more}


def topic(full_path: bool = False, **parts: Any) -> str:
    request = request_of(scope(**parts), full_path=full_path)
    assert isinstance(request, Request)
    return request.target


@pytest.mark.parametrize(
    ("raw", "root", "rest"),
    [
        (b"/live/prices", "/live", b"/prices"),
        (b"/live/", "/live", b"/"),
        (b"/live", "/live", b"/"),
        (b"/live/prices", "/live/", b"/prices"),
        (b"/live/a%2Fb", "/live", b"/a%2Fb"),
        (b"/l%69ve/a", "/live", b"/a"),
        (b"/caf%C3%A9/live/a", "/café/live", b"/a"),
        (b"/prices", "/live", b"/prices"),  # a server that takes it off itself
        (b"/lively/a", "/live", b"/lively/a"),
        (b"/live/live/a", "/live", b"/live/a"),
        (b"/a", "", b"/a"),
        (b"/", "", b"/"),
    ],
)
def test_the_topic_is_what_stands_behind_the_mount(raw: bytes, root: str, rest: bytes) -> None:
    assert topic(raw_path=raw, root=root).encode() == rest


def test_where_a_proxy_takes_off_the_applications_root_the_mount_is_still_found() -> None:
    # As Starlette has it below FastAPI(root_path="/api"), with /api off the path already, and not.
    assert topic(raw_path=b"/live/a", root="/api/live", app_root_path="/api") == "/a"
    assert topic(raw_path=b"/api/live/a", root="/api/live", app_root_path="/api") == "/a"
    assert topic(raw_path=b"/other/a", root="/api/live", app_root_path="/api") == "/other/a"


def test_of_a_long_path_no_more_is_looked_at_than_the_mount_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def unquote(front: bytes) -> bytes:
        looked_at.append(len(front))
        return unquote_to_bytes(front)

    monkeypatch.setattr(asgi, "unquote_to_bytes", unquote)
    assert without_root(b"/live" + b"/%2f" * 20_000, "/api/live") is None
    assert sum(looked_at) < 1000


def test_with_full_path_it_is_the_whole_path() -> None:
    assert topic() == "/a"
    assert topic(full_path=True) == "/live/a"


def test_the_query_comes_from_its_own_place_and_is_no_part_of_the_topic() -> None:
    assert topic(query_string=b"pubsub=publisher") == "/a?pubsub=publisher"
    assert topic(raw_path=b"/live/a?pubsub=publisher", query_string=b"pubsub=publisher") == "/a?pubsub=publisher"


def test_a_server_without_raw_paths_has_it_escaped_anew() -> None:
    assert topic(path="/live/é b", raw_path=None) == "/%C3%A9%20b"


def test_bytes_that_are_not_ascii_are_refused() -> None:
    request = request_of(scope(raw_path=b"/live/\xff"), full_path=False)
    assert isinstance(request, Refusal) and request.status == 400


def test_headers_are_as_the_rest_of_the_package_has_them() -> None:
    request = request_of(scope(subprotocols=["pubsub.duplex"]), full_path=False)
    assert isinstance(request, Request)
    assert (request.host, request.headers, request.subprotocols) == ("h:1", [(b"host", b"h:1")], ("pubsub.duplex",))

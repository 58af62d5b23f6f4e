"""The bytes of a request: cut anywhere, too many, too slow, or no request at all; and every answer can be read."""

import contextlib

import pytest

from pubsub.events import EventType
from tests.support.rawclient import BINARY, frame, request
from tests.support.server import serving, wait_until

LIMIT = 1024
# Deadlines are looked at on the beat of the pings.
QUICK = {"ping_interval": 0.2, "pong_deadline": 5.0}
CLIENT_HELLO = bytes.fromhex("16030100f1010000ed0303") + bytes(range(200))


def padded(size: int, **changes: str) -> bytes:
    """An upgrade of exactly so many bytes."""
    bare = request("/t", ("X-Padding", ""), **changes)
    return request("/t", ("X-Padding", "x" * (size - len(bare))), **changes)


async def test_a_request_may_come_byte_by_byte_with_frames_behind_it() -> None:
    async with serving() as scene:
        subscriber = await scene.dial()
        await subscriber.upgrade(request("/t"), bytewise=True)
        publisher = await scene.dial()
        await publisher.send(request("/t", role="publisher") + frame(b"early") + frame(b"", fin=False), bytewise=True)
        assert await subscriber.read_message() == b"early"


async def test_lines_may_end_with_a_bare_line_feed() -> None:
    async with serving() as scene:
        client = await scene.dial()
        await client.upgrade(request("/t").replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_a_head_of_exactly_max_head_bytes_is_taken(bytewise: bool) -> None:
    async with serving(max_head_bytes=LIMIT) as scene:
        client = await scene.dial()
        await client.upgrade(padded(LIMIT), bytewise=bytewise)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_a_head_of_one_byte_more_is_refused_with_431(bytewise: bool) -> None:
    async with serving(max_head_bytes=LIMIT) as scene:
        client = await scene.ask(padded(LIMIT + 1), bytewise=bytewise)
        assert client.response is not None and client.response.status == 431
        assert f"max_head_bytes={LIMIT}" in client.response.body
        assert "--max-head-bytes" in client.response.body


async def test_frames_behind_the_head_do_not_count_as_head() -> None:
    async with serving(max_head_bytes=LIMIT) as scene:
        subscriber = await scene.join()
        publisher = await scene.dial()
        await publisher.upgrade(padded(LIMIT, role="publisher"), also=frame(bytes(5000)))
        assert await subscriber.read_message() == bytes(5000)


async def test_a_head_that_never_ends_is_refused_before_it_is_all_there() -> None:
    async with serving(max_head_bytes=LIMIT) as scene:
        client = await scene.ask(b"GET /t HTTP/1.1\r\nX: " + b"x" * LIMIT)
        assert client.response is not None and client.response.status == 431


# --- deadlines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"G", request("/t")[:-1]], ids=["nothing", "one byte", "all but one byte"])
async def test_a_request_that_is_not_complete_in_time_gets_408(said: bytes) -> None:
    async with serving(handshake_deadline=0.1, **QUICK) as scene:
        client = await scene.ask(said)
        assert client.response is not None and client.response.status == 408
        assert "handshake_deadline=0.1 s" in client.response.body
        assert scene.server.stats().refusals == {408: 1}


async def test_bytes_that_trickle_in_do_not_extend_the_deadline() -> None:
    async with serving(handshake_deadline=0.1, **QUICK) as scene:
        client = await scene.dial()
        await client.send(b"GET /t HTTP/1.1\r\n")

        def trickled() -> bool:
            with contextlib.suppress(OSError):
                client.sock.send(b"x")
            return bool(scene.server.stats().refusals)

        await wait_until(trickled, "a refusal")
        assert (await client.read_response()).status == 408


async def test_a_refused_client_that_does_not_leave_is_cut_off() -> None:
    async with serving(close_deadline=0.1, **QUICK) as scene:
        client = await scene.ask(request("/t", role=None))

        def cut_off() -> bool:
            # The server's end of stream came with the answer; its reset answers the first byte after its close().
            try:
                client.sock.send(b"x")
            except OSError:
                return True
            return False

        await wait_until(cut_off, "a reset")


# --- no request at all ----------------------------------------------------------------------------------------------

GARBAGE = {
    "TLS ClientHello": (CLIENT_HELLO, "TLS"),
    "zeros": (bytes(100), "HTTP"),
    "a frame": (frame(b"x" * 30), "HTTP"),
    "words": (b"hello there\r\n\r\n", "HTTP/1.1"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1"),
    "no version": (b"GET /t\r\n\r\n", "HTTP/1.1"),
    "no colon": (b"GET /t HTTP/1.1\r\nHost\r\n\r\n", "HTTP/1.1"),
    "space before colon": (request("/t").replace(b"Upgrade:", b"Upgrade :"), "HTTP/1.1"),
    "folded header": (request("/t", ("X", "a\r\n b")), "line"),
    "NUL in a header": (request("/t", ("X", "a\0b")), "control characters"),
    "two hosts": (request("/t", ("Host", "other")), "HTTP/1.1"),
    "host of nonsense": (request("/t", ("Host", "a b/c"), without=["Host"]), "Host"),
    "two keys": (request("/t", ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")), "Sec-WebSocket-Key"),
    "CONNECT": (b"CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n", "path"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: other\r\n\r\n", "path"),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", GARBAGE)
async def test_what_is_no_request_gets_400_and_no_event(case: str, bytewise: bool) -> None:
    data, word = GARBAGE[case]
    async with serving() as scene:
        client = await scene.dial()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await client.send(data, bytewise=bytewise)
        response = await client.read_response()
        assert response.status == 400
        assert word in response.body and response.body.count("\n") == 1
        await scene.join()
        assert (await scene.next_event()).type is EventType.SUBSCRIBER_JOINED


@pytest.mark.parametrize("said", [b"", b"GET /t HT", CLIENT_HELLO])
async def test_a_client_that_leaves_in_the_middle_of_its_request_leaves_nothing(said: bytes) -> None:
    async with serving() as scene:
        for leaves in ("close", "reset", "finish"):
            client = await scene.dial()
            await client.send(said)
            getattr(client, leaves)()
        # A later client is let in after those were looked at; the fixture finds what they left.
        await scene.join()


# --- the answer can be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [request("/t", role=None), b"\x16\x03\x01", b"GET / HTTP/1.1\r\nX: " + b"x" * 20000])
async def test_a_refusal_can_be_read_by_a_client_that_goes_on_sending(first: bytes) -> None:
    async with serving() as scene:
        client = await scene.dial()
        await client.send(first)
        for _ in range(20):
            await client.send(bytes(100_000))
        assert (await client.read_response()).status in (400, 431)


async def test_a_refusal_can_be_read_by_a_client_that_has_finished_sending() -> None:
    async with serving() as scene:
        client = await scene.dial()
        await client.send(request("/t", role=None))
        client.finish()
        assert (await client.read_response()).status == 400


async def test_requests_behind_a_refused_one_are_not_answered() -> None:
    async with serving() as scene:
        client = await scene.ask(request("/t", role=None) + request("/t"))
        assert client.response is not None and client.response.body.count("HTTP/1.1") == 0
        assert scene.server.stats().subscribers == 0


async def test_a_slow_request_holds_up_nobody() -> None:
    async with serving() as scene:
        slow = await scene.dial()
        await slow.send(request("/t")[:-2])
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(frame(b"meanwhile"))
        assert await subscriber.read_frame() == (BINARY, b"meanwhile", True)
        await slow.send(request("/t")[-2:])
        assert (await slow.read_response()).status == 101

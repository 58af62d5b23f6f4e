"""Pings and Closes of clients: answered in their place, which is behind everything the client said before them."""

import pytest

from tests.support.rawclient import CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, close_frame, frame
from tests.support.server import Scene, serving, wait_until

ROLES = ["publisher", "subscriber", "duplex"]


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
async def test_a_pong_has_the_pings_payload(payload: bytes, role: str, bytewise: bool) -> None:
    async with serving() as scene:
        client = await scene.join("/t", role)
        await client.send(frame(payload, PING), bytewise=bytewise)
        assert await client.read_frame() == (PONG, payload, True)


async def test_pings_in_one_packet_are_answered_in_their_order() -> None:
    async with serving() as scene:
        client = await scene.join()
        payloads = [b"%d" % number for number in range(1000)]
        await client.send(b"".join(frame(payload, PING) for payload in payloads))
        assert [(await client.read_frame()).payload for _ in payloads] == payloads


async def test_a_ping_between_fragments_is_answered_before_the_message_is_complete() -> None:
    async with serving() as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(frame("ha", TEXT, fin=False) + frame(b"now", PING))
        assert await publisher.read_frame() == (PONG, b"now", True)
        await publisher.send(frame("lf", CONTINUATION))
        assert await subscriber.read_message() == "half"


async def test_pongs_nobody_asked_for_are_ignored() -> None:
    async with serving() as scene:
        client = await scene.join(role="duplex")
        await client.send(frame(b"unasked", PONG) * 100 + frame(b"message"))
        assert await client.read_message() == b"message"


@pytest.mark.parametrize("count", [1, 5000])
async def test_a_pong_means_that_every_message_before_it_is_in_the_log(count: int) -> None:
    async with serving() as scene:
        publisher = await scene.join(role="publisher")
        for number in range(1, 4):
            await publisher.send(frame(bytes(100)) * count + frame(b"flushed", PING))
            assert await publisher.read_frame() == (PONG, b"flushed", True)
            # An in-process message right now comes behind them.
            assert scene.server.publish("/t", b"") == number * (count + 1)


async def test_a_pong_behind_a_large_message_means_that_it_is_in_the_log() -> None:
    async with serving() as scene:
        publisher = await scene.join(role="publisher")
        await publisher.send(frame(bytes(3_000_000)) + frame(b"flushed", PING))
        assert await publisher.read_frame() == (PONG, b"flushed", True)
        assert scene.server.publish("/t", b"") == 2


async def test_a_pong_never_stands_inside_a_message() -> None:
    async with serving(max_message_bytes=1 << 23) as scene:
        # A small window, so that the server stands inside the large message when the pings come.
        subscriber = await scene.join(receive_buffer=4096)
        scene.server.publish("/t", bytes(5_000_000))
        scene.server.publish("/t", b"second")
        await wait_until(lambda: scene.server.stats().sent_bytes > 5000, "a begun message")
        for number in range(10):
            await subscriber.send(frame(b"%d" % number, PING))
        frames = [await subscriber.read_any_frame() for _ in range(12)]
        assert frames[0].payload == bytes(5_000_000)
        assert [each.payload for each in frames if each.opcode == PONG] == [b"%d" % number for number in range(10)]


async def test_a_client_that_pings_without_reading_is_not_read_for_ever() -> None:
    async with serving(subscriber_write_timeout=0.3, close_deadline=0.3) as scene:
        client = await scene.join(receive_buffer=4096)
        pings = frame(bytes(125), PING) * 1000

        def stuffed() -> bool:
            try:
                client.sock.send(pings)
            except BlockingIOError:
                pass
            except OSError:
                return True
            return bool(scene.departures)

        await wait_until(stuffed, "a departure")
        await scene.wait_departures(stalled=1)
        assert scene.server.stats().memory_bytes == 0


# --- Close ----------------------------------------------------------------------------------------------------------


async def hung_up(scene: Scene, client: RawClient) -> None:
    """After both Closes the server ends the stream first, as RFC 6455 section 7.1.1 wants it."""
    await client.read_end()
    client.close()
    await scene.wait_empty()
    assert scene.departures == {"closed": 1}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
)
async def test_a_close_is_answered_with_its_code(code: int, role: str) -> None:
    async with serving() as scene:
        client = await scene.join("/t", role)
        await client.send(close_frame(code, "reason"))
        assert await client.read_close() == (code, "")
        await hung_up(scene, client)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("reason", ["", "r" * 123, "é" * 61])
async def test_a_close_with_any_reason_is_answered(reason: str, bytewise: bool) -> None:
    async with serving() as scene:
        client = await scene.join()
        await client.send(close_frame(1000, reason), bytewise=bytewise)
        assert await client.read_close() == (1000, "")
        await hung_up(scene, client)


async def test_a_close_without_code_is_answered_without_code() -> None:
    async with serving() as scene:
        client = await scene.join()
        await client.send(frame(b"", CLOSE))
        assert await client.read_close() == (None, "")
        await hung_up(scene, client)


async def test_the_answer_to_a_close_comes_when_everything_before_it_is_in_the_log() -> None:
    async with serving() as scene:
        publisher = await scene.join(role="publisher")
        await publisher.send(frame(bytes(100)) * 5000 + frame(bytes(1_000_000)) + close_frame())
        assert await publisher.read_close() == (1000, "")
        assert scene.server.publish("/t", b"") == 5002


async def test_what_comes_behind_a_close_has_no_meaning() -> None:
    async with serving() as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(frame(b"before") + close_frame() + frame(b"behind") + frame(b"", PING) + b"garbage")
        assert await publisher.read_close() == (1000, "")
        await publisher.read_end()
        scene.server.publish("/t", b"next")
        assert await subscriber.read_messages(2) == [b"before", b"next"]


async def test_a_message_that_a_close_breaks_off_is_delivered_to_nobody() -> None:
    async with serving() as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(frame(b"half", fin=False) + close_frame())
        assert await publisher.read_close() == (1000, "")
        scene.server.publish("/t", b"next")
        assert await subscriber.read_message() == b"next"
        await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")


async def test_a_subscriber_that_closes_gets_nothing_behind_the_answer() -> None:
    async with serving() as scene:
        subscriber = await scene.join()
        await subscriber.send(close_frame())
        assert await subscriber.read_close() == (1000, "")
        scene.server.publish("/t", b"late")
        await subscriber.read_end()


async def test_a_client_that_does_not_hang_up_after_its_close_is_cut_off_in_time() -> None:
    async with serving(close_deadline=0.2) as scene:
        client = await scene.join()
        await client.send(close_frame())
        assert await client.read_close() == (1000, "")
        await scene.wait_departures(closed=1)


UNFINISHED = {"nothing": b"", "half a message": frame(b"half", fin=False), "half a frame": frame(b"cut off")[:-3]}


@pytest.mark.parametrize("said", UNFINISHED)
@pytest.mark.parametrize(("leave", "cause"), [("close", "left"), ("reset", "reset"), ("finish", "left")])
async def test_a_client_that_leaves_without_a_close_departs_at_once(said: str, leave: str, cause: str) -> None:
    async with serving() as scene:
        subscriber, publisher = await scene.join(), await scene.join(role="publisher")
        await publisher.send(frame(b"whole") + UNFINISHED[said])
        getattr(publisher, leave)()
        await scene.wait_departures(**{cause: 1})
        scene.server.publish("/t", b"next")
        assert await subscriber.read_messages(2) == [b"whole", b"next"]
        await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")

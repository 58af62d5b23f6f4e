"""Stats.limited: each limit that a client is closed for counts by the name of its option, and no other does."""

import asyncio

import pytest

from tests.support.rawclient import BINARY, CLOSE, RawClient, frame
from tests.support.server import PATIENCE, Scene, serving, wait_until

WAYS = pytest.mark.parametrize("lane", [True, False], ids=["lane", "wsproto"])
MIB = 1 << 20
# More than the kernel's buffers of one connection take.
FULL = 8 * MIB
# Nothing here is to wait for these.
PATIENT = {"subscriber_write_timeout": 2 * PATIENCE, "message_timeout": 2 * PATIENCE}
RESERVED = 0x3


async def counted(scene: Scene, *, departed: str, **limits: int) -> None:
    """Returns when all have departed with that cause; the limits met are these."""
    await scene.wait_departures(**{departed: 1})
    assert scene.server.stats().limited == limits


async def until_full(scene: Scene, client: RawClient) -> None:
    """Publishes more than fits into the client's socket, and returns when it is in the middle of that."""
    scene.server.publish("/t", bytes(FULL))
    await wait_until(lambda: scene.server.stats().sent_bytes > 1000, "a begun message")
    assert client.buffer == b""


async def test_a_stalled_subscriber_counts_as_subscriber_write_timeout() -> None:
    async with serving(subscriber_write_timeout=0.2, close_deadline=0.2) as scene:
        await until_full(scene, await scene.join(receive_buffer=4096))
        await counted(scene, departed="stalled", subscriber_write_timeout=1)


@pytest.mark.parametrize("bound", [{"max_lag_bytes": MIB}, {"max_lag_messages": 2}, {"max_lag_age": 0.1}], ids=str)
async def test_a_subscriber_too_far_behind_counts_as_max_lag_bytes(bound: dict[str, float]) -> None:
    async with serving(close_deadline=0.2, **(PATIENT | bound)) as scene:
        await until_full(scene, await scene.join(receive_buffer=4096))
        for _ in range(3):
            scene.server.publish("/t", bytes(MIB))
        await counted(scene, departed="too_far_behind", max_lag_bytes=1)


async def test_a_client_without_a_pong_counts_as_pong_deadline() -> None:
    async with serving(ping_interval=0.05, pong_deadline=0.2, close_deadline=0.2) as scene:
        await scene.join()
        await counted(scene, departed="no_pong", pong_deadline=1)


@WAYS
async def test_a_message_that_does_not_end_counts_as_message_timeout(lane: bool) -> None:
    async with serving(message_timeout=0.2, lane=lane) as scene:
        publisher = await scene.join(role="publisher")
        await publisher.send(frame(b"begun", fin=False))
        await publisher.read_close()
        publisher.close()
        await counted(scene, departed="policy", message_timeout=1)


@WAYS
async def test_a_message_that_finds_no_room_counts_as_max_memory_bytes(lane: bool) -> None:
    async with serving(max_memory_bytes=4 * MIB, lane=lane, **PATIENT) as scene:
        small, large = [await scene.join(role="publisher") for _ in range(2)]
        await small.send(frame(b"small", fin=False))
        await wait_until(lambda: scene.server.stats().memory_bytes, "a begun message")
        sending = asyncio.create_task(large.send(frame(bytes(FULL))))
        assert (await large.read_close())[0] == 1013
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        large.close()
        await counted(scene, departed="try_later", max_memory_bytes=1)


async def test_the_farthest_behind_at_the_memory_limit_counts_as_max_memory_bytes() -> None:
    async with serving(max_memory_bytes=16 * MIB, close_deadline=0.2, **PATIENT) as scene:
        await until_full(scene, await scene.join(receive_buffer=4096))
        # Over the limit at once, as messages of clients may be.
        scene.server.topic("/t").publish_many([bytes(FULL)] * 2, strict=False)
        await counted(scene, departed="memory", max_memory_bytes=1)


# --- close_deadline -------------------------------------------------------------------------------------------------


@WAYS
async def test_who_takes_no_close_in_its_time_counts_as_close_deadline(lane: bool) -> None:
    async with serving(close_deadline=0.2, lane=lane, **PATIENT) as scene:
        client = await scene.join(role="duplex", receive_buffer=4096)
        await until_full(scene, client)
        await client.send(frame(b"", RESERVED))
        await counted(scene, departed="close_timeout", close_deadline=1)


@pytest.mark.parametrize("drain", [0.1, 2.0])
async def test_who_does_not_answer_the_close_of_a_server_that_ends_has_met_no_limit(drain: float) -> None:
    async with serving() as scene:
        silent = await scene.join()
        await scene.server.close(drain=drain)
        assert (await silent.read_close())[0] == 1012
        # Which of the two depends on whose clock is ahead.
        assert scene.departures in ({"close_timeout": 1}, {"aborted": 1})
        assert scene.server.stats().limited == {}


@WAYS
@pytest.mark.parametrize(
    ("sent", "departed", "limits"),
    [
        (frame(b"", RESERVED), "protocol_error", {}),
        (frame(bytes(100), BINARY), "policy", {"max_ignored_bytes": 1}),
    ],
    ids=["bad frame", "limit"],
)
async def test_who_took_its_close_counts_for_the_cause_of_that_alone(
    sent: bytes, departed: str, limits: dict[str, int], lane: bool
) -> None:
    async with serving(close_deadline=0.2, max_ignored_bytes=10, lane=lane) as scene:
        client = await scene.join()
        await client.send(sent)
        assert (await client.read_any_frame()).opcode == CLOSE
        # It answers nothing, and is reset.
        await counted(scene, departed=departed, **limits)

"""What a Subscriber that came back is told: how many it missed, and where in the order of its messages."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pubsub import ConnectionClosed, Gap, Subscriber
from tests.support.comingback import AT_ONCE, Line, accept_and_close, in_turn, kept_port, serving_on
from tests.support.peers import SOON, Peer, scripted_server
from tests.support.server import Scene, serving, wait_until


class Scenery:
    """A real server, a subscriber on a line of ours, and what its iteration brought: messages and gaps in order."""

    def __init__(self, scene: Scene, line: Line, subscriber: Subscriber[bytes | str], seen: list[Any]) -> None:
        self.server = scene.server
        self.line = line
        self.subscriber = subscriber
        self.seen = seen

    def publish(self, *messages: bytes) -> None:
        for message in messages:
            self.server.publish("/t", message)

    async def iterate(self, count: int) -> None:
        """Until so many things were seen."""
        while len(self.seen) < count:
            self.seen.append(await anext(self.subscriber))

    async def leave(self) -> None:
        """The connection is cut, and the subscriber has noticed."""
        self.line.hold()
        tries = self.line.attempts
        self.line.cut()
        await wait_until(lambda: self.line.attempts > tries, "an attempt to come back")

    async def come_back(self) -> None:
        here = self.subscriber.client_id
        self.line.free()
        await wait_until(lambda: self.subscriber.client_id != here, "another connection")

    @property
    def missed(self) -> list[int | None]:
        return [each.missed for each in self.seen if isinstance(each, Gap)]


@asynccontextmanager
async def scenery(*, options: dict[str, Any] | None = None, **arguments: Any) -> AsyncIterator[Scenery]:
    line, seen = Line(), list[Any]()
    async with serving(**(options or {})) as scene:
        own: dict[str, Any] = {"text": True, "connect": line.connect, "reconnect": AT_ONCE, "on_gap": seen.append}
        subscriber: Subscriber[bytes | str] = Subscriber(scene.server.url + "/t", **own | arguments)
        async with subscriber:
            yield Scenery(scene, line, subscriber, seen)


# --- how many ---


@pytest.mark.parametrize("missed", [0, 1, 7])
async def test_within_an_epoch_the_missed_are_counted(missed: int) -> None:
    async with scenery() as here:
        here.publish(b"1", b"2", b"3")
        await here.iterate(3)
        await here.leave()
        here.publish(*[b"?"] * missed)
        await here.come_back()
        here.publish(b"last")
        await here.iterate(5)
        assert here.seen[:3] == [b"1", b"2", b"3"]
        assert here.seen[4] == b"last"
        assert here.missed == [missed]
        assert isinstance(here.seen[3].error, ConnectionClosed)
        assert here.seen[3].error.code == 1006


async def test_what_was_there_before_it_came_does_not_count_and_each_gap_counts_for_itself() -> None:
    async with scenery() as here:
        for missed in (2, 0, 3):
            await here.leave()
            here.publish(*[b"?"] * missed)
            await here.come_back()
            here.publish(b"between")
            await here.iterate(len(here.seen) + 2)
        assert here.missed == [2, 0, 3]


async def test_a_connection_without_messages_counts_too() -> None:
    async with scenery() as here:
        for missed in (1, 2):
            await here.leave()
            here.publish(*[b"?"] * missed)
            await here.come_back()
        here.publish(b"at last")
        await here.iterate(3)
        assert here.missed == [1, 2]


async def test_another_life_of_the_server_is_another_epoch_and_nobody_knows() -> None:
    seen: list[Any] = []
    with kept_port() as listener:
        async with serving_on(listener) as server:
            subscriber = await Subscriber(server.url + "/t", reconnect=AT_ONCE, on_gap=seen.append).open()
            server.publish("/t", b"before")
            seen.append(await anext(subscriber))
        async with serving_on(listener) as server:
            await wait_until(lambda: server.stats().subscribers, "the subscriber")
            server.publish("/t", b"after")
            seen.append(await anext(subscriber))
            await subscriber.close()
    assert (seen[0], seen[2]) == (b"before", b"after")
    assert seen[1].missed is None
    assert seen[1].error.code == 1012


async def test_where_the_server_may_skip_nobody_knows() -> None:
    async with scenery(options={"overflow": ("/t=skip",)}) as here:
        await here.leave()
        await here.come_back()
        here.publish(b"after")
        await here.iterate(2)
        assert here.missed == [None]


async def test_with_a_server_that_says_nothing_of_offsets_nobody_knows() -> None:
    seen: list[Any] = []

    def message(peer: Peer) -> bytes:
        return peer.connection.message(b"here")

    script = in_turn(accept_and_close(1012, then=message), accept_and_close(1000, then=message))
    async with scripted_server(script) as url, Subscriber(url, reconnect=AT_ONCE, on_gap=seen.append) as subscriber:
        seen += [message async for message in subscriber]
    assert [each.missed for each in seen if isinstance(each, Gap)] == [None]
    assert seen.count(b"here") == 2


async def test_a_message_that_broke_off_is_dropped_and_counts_as_missed() -> None:
    def place(offset: int) -> list[tuple[bytes, bytes]]:
        return [(b"pubsub-epoch", b"5"), (b"pubsub-offset", b"%d" % offset)]

    async def breaks_off(peer: Peer) -> None:
        await peer.accept(*place(7), then=peer.connection.message(b"7"))
        await peer.send(peer.connection.message(b"the first half of 8", last=False))
        await peer.hang_up()

    async def goes_on(peer: Peer) -> None:
        await peer.accept(*place(9), then=peer.connection.message(b"9") + peer.connection.close())
        await peer.receive_closed()

    gaps: list[Gap] = []
    async with (
        scripted_server(in_turn(breaks_off, goes_on)) as url,
        Subscriber(url, reconnect=AT_ONCE, on_gap=gaps.append) as subscriber,
    ):
        assert [message async for message in subscriber] == [b"7", b"9"]
    assert [gap.missed for gap in gaps] == [1]


# --- where ---


async def test_the_gap_is_told_between_the_messages_of_before_and_after() -> None:
    async with scenery() as here:
        here.publish(b"1", b"2")
        await wait_until(lambda: here.subscriber._received == 2, "both messages")
        await here.leave()
        here.publish(b"?")
        await here.come_back()
        here.publish(b"4", b"5")
        # Nothing was iterated so far, so nothing was told.
        assert here.seen == []
        await here.iterate(5)
        assert [each if isinstance(each, bytes) else each.missed for each in here.seen] == [b"1", b"2", 1, b"4", b"5"]


async def test_messages_taken_at_once_end_before_the_gap() -> None:
    async with scenery() as here:
        here.publish(b"1", b"2")
        await wait_until(lambda: here.subscriber._received == 2, "both messages")
        await here.leave()
        await here.come_back()
        here.publish(b"3", b"4")
        await wait_until(lambda: here.subscriber._received == 2, "two more")
        assert await here.subscriber.take_messages() == [b"1", b"2"]
        assert here.seen == []
        assert await here.subscriber.take_messages() == [b"3", b"4"]
        assert here.missed == [0]


async def test_whoever_waits_for_a_message_is_told_of_the_gap_at_once() -> None:
    async with scenery() as here:
        waiting = asyncio.create_task(anext(here.subscriber))
        await asyncio.sleep(0)
        await here.leave()
        await here.come_back()
        await wait_until(lambda: here.missed == [0], "the gap")
        assert not waiting.done()
        here.publish(b"then")
        assert await waiting == b"then"


async def test_waiting_that_is_cancelled_loses_neither_gap_nor_message() -> None:
    async with scenery() as here:
        await here.leave()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await anext(here.subscriber)
        await here.come_back()
        here.publish(b"kept")
        await here.iterate(2)
        assert (here.missed, here.seen[1]) == ([0], b"kept")


async def test_what_on_gap_raises_the_iteration_raises_and_then_it_goes_on() -> None:
    def fail(gap: Gap) -> None:
        raise LookupError(f"{gap.missed} missed")

    async with scenery(on_gap=fail) as here:
        await here.leave()
        here.publish(b"?")
        await here.come_back()
        here.publish(b"after")
        with pytest.raises(LookupError, match="1 missed"):
            await anext(here.subscriber)
        assert await anext(here.subscriber) == b"after"


async def test_without_on_gap_a_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with scenery(on_gap=None) as here:
        await here.leave()
        here.publish(b"?", b"?")
        await here.come_back()
        here.publish(b"after")
        assert await anext(here.subscriber) == b"after"
    [record] = [record for record in caplog.records if record.name == "pubsub"]
    assert record.levelno == logging.WARNING
    assert "2 messages missed" in record.getMessage()


# --- a buffer that is full ---


async def test_one_that_is_not_iterated_notices_the_loss_when_it_is_and_misses_nothing_it_had() -> None:
    size = 1000
    async with scenery(buffer_bytes=10 * size, options={"max_lag_bytes": 1 << 20}) as here:
        sent = [number.to_bytes(2, "big") + bytes(size) for number in range(20)]
        here.publish(*sent)
        await wait_until(lambda: not here.subscriber._wanted.is_set(), "a full buffer")
        here.line.cut()
        here.publish(*sent[:3])
        first_id = here.subscriber.client_id

        async def iterate() -> None:
            while b"last" not in here.seen:
                await here.iterate(len(here.seen) + 1)

        iterating = asyncio.create_task(iterate())
        await wait_until(lambda: here.subscriber.client_id != first_id, "another connection")
        here.publish(b"last")
        await iterating
        gap: Any
        [gap] = [each for each in here.seen if isinstance(each, Gap)]
        before, after = here.seen[: here.seen.index(gap)], here.seen[here.seen.index(gap) + 1 :]
        everything = [*sent, *sent[:3], b"last"]
        assert before == everything[: len(before)]
        assert gap.missed == len(everything) - len(before) - len(after)
        assert after == everything[len(before) + gap.missed :]


async def test_gaps_fill_the_buffer_too() -> None:
    async with scenery(buffer_bytes=200) as here:
        for _ in range(4):
            await here.leave()
            await here.come_back()
        assert not here.subscriber._wanted.is_set()
        here.publish(b"last")
        await here.iterate(5)
        assert here.missed == [0] * 4
        assert here.subscriber._wanted.is_set()


# --- the end ---


async def test_a_subscriber_that_is_closed_while_it_is_away_gives_what_it_has_and_ends() -> None:
    async with scenery() as here:
        here.publish(b"1")
        await wait_until(lambda: here.subscriber._received == 1, "the message")
        await here.leave()
        await here.subscriber.close()
        assert [message async for message in here.subscriber] == [b"1"]
        assert isinstance(here.subscriber.error, ConnectionClosed)


async def test_a_subscriber_that_gave_up_raises_why_after_what_it_had() -> None:
    def message(peer: Peer) -> bytes:
        return peer.connection.message(b"here")

    script = in_turn(accept_and_close(1012, then=message), accept_and_close(1008, "out", then=message))
    gaps: list[Gap] = []
    async with scripted_server(script) as url, Subscriber(url, reconnect=AT_ONCE, on_gap=gaps.append) as subscriber:
        assert [await anext(subscriber), await anext(subscriber)] == [b"here"] * 2
        assert len(gaps) == 1
        with pytest.raises(ConnectionClosed, match="out"):
            await anext(subscriber)



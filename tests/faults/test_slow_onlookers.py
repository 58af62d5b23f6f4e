"""Those who watch the server: events that nobody reads, and stats asked for by many threads at once, hold up nobody."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pubsub.server import Server
from pubsub.stats import Stats
from tests.support.crew import crew
from tests.support.rawclient import frame
from tests.support.server import Scene, serving, wait_until

THREADS, STREAMS, BUFFER = 8, 20, 5
MESSAGES, VISITORS = 300, 100

# Counts since the server began, which never fall.
GROW = ["messages", "message_bytes", "received_bytes", "sent_bytes", "events_dropped"]


class Asker:
    """A thread that asks for stats all the time, and compares each with the one before."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.asked = 0
        self.wrong: list[tuple[Stats, Stats]] = []
        self._thread.start()

    def _ask(self) -> None:
        before = self._server.stats()
        # A moment between two, for these clients are of this process, and spinning threads would hold up them.
        while not self._ended.wait(0.001):
            now = self._server.stats()
            if any(getattr(now, name) < getattr(before, name) for name in GROW) or now.subscribers < 0:
                self.wrong.append((before, now))
            before = now
            self.asked += 1

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def asking(server: Server) -> Iterator[list[Asker]]:
    askers = [Asker(server) for _ in range(THREADS)]
    try:
        yield askers
    finally:
        for asker in askers:
            asker.end()


async def visit(scene: Scene) -> None:
    for _ in range(VISITORS):
        (await scene.join("/visited")).close()


async def test_unread_events_and_stats_asked_by_many_threads_hold_up_nobody_and_what_is_dropped_is_counted() -> None:
    async with serving(event_buffer=BUFFER) as scene, crew() as people:
        streams = [scene.server.events() for _ in range(STREAMS)]
        await people.join(scene.server.port)
        publisher = await people.join(scene.server.port, "publisher")
        with asking(scene.server) as askers:
            visiting = asyncio.create_task(visit(scene))
            for number in range(MESSAGES):
                await publisher.send(frame(b"%d" % number))
                # Each arrives before the next is sent: nothing waits for those who watch.
                await wait_until(lambda: len(people.heard[0]) == number + 1, "a message")  # noqa: B023
            await visiting
            await wait_until(lambda: scene.departures == {"left": VISITORS}, "the end of the visits")
        assert people.heard[0] == [b"%d" % number for number in range(MESSAGES)]
        assert all(asker.asked for asker in askers)
        assert [asker.wrong for asker in askers] == [[]] * THREADS
        stats = scene.server.stats()
        events = 2 + 2 * VISITORS
        assert [stream.dropped for stream in streams] == [events - BUFFER] * STREAMS
        # The scene has a stream of its own.
        assert stats.events_dropped == (STREAMS + 1) * (events - BUFFER)
        assert (stats.messages, stats.subscribers, stats.publishers) == (MESSAGES, 1, 1)

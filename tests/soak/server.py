"""The soak's server: `pubsub.serve`, which on top says of each client why it left.

That is in no event and in no count by client, so it is taken where the server counts it. Its events have two readers
that are too slow on purpose: one takes a few a second, one prints them, as the command does, to a pipe that is hardly
read.
"""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import sys
from typing import Any

from pubsub.census import Census
from pubsub.cli.eventlines import print_events
from pubsub.cli.pipes import Output
from pubsub.eventstream import EventStream
from pubsub.server import serve
from pubsub.session import Session
from tests.soak.plan import Plan
from tests.soak.programs import answer, asked_until_end, begin

_SLOW_READ_SECONDS = 0.2
_PIPE_READ_BYTES = 2048


def note_departures() -> list[tuple[str, str]]:
    """A list that gets the id and the cause of everybody who departs."""
    departed: list[tuple[str, str]] = []
    left = Census.left

    def noting(self: Census, session: Session, cause: str) -> None:
        departed.append((session.client_id, cause))
        left(self, session, cause)

    Census.left = noting  # type: ignore[method-assign]
    return departed


class _Log(logging.Handler):
    """What the server or its event loop logs: in a soak, nothing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < 100:
            self.lines.append(self.format(record))


async def _take_slowly(events: EventStream) -> None:
    async for _ in events:
        await asyncio.sleep(_SLOW_READ_SECONDS)


async def _print_slowly(events: EventStream) -> None:
    reading, writing = os.pipe()

    async def read_a_little() -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                os.read(reading, _PIPE_READ_BYTES)
            await asyncio.sleep(_SLOW_READ_SECONDS)

    os.set_blocking(reading, False)
    slowly = asyncio.create_task(read_a_little())
    try:
        with Output(writing, limit=1 << 14) as output:
            await print_events(events, output, as_json=True)
    finally:
        slowly.cancel()
        os.close(reading)
        os.close(writing)


async def serve_soak(plan: Plan, host: str) -> None:
    log = _Log()
    logging.getLogger().addHandler(log)
    departed = note_departures()
    async with serve(host, 0, options=plan.options()) as server:
        readers = [
            asyncio.create_task(_take_slowly(server.events())),
            asyncio.create_task(_print_slowly(server.events())),
        ]

        def report() -> dict[str, Any]:
            document = {
                "stats": dataclasses.asdict(server.stats()),
                "departed": departed[:],
                "logged": log.lines[:],
            }
            departed.clear()
            log.lines.clear()
            return document

        answer({"port": server.port})
        await asked_until_end(report)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    answer(report())


if __name__ == "__main__":
    begin()
    asyncio.run(serve_soak(Plan.from_document(json.loads(sys.argv[1])), sys.argv[2]))

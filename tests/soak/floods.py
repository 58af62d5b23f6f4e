"""Floods: now and then, for some seconds, all that the compiled load can publish, with readers of every speed.

The load checks by itself that its steady subscribers get everything once, in order (fastfan.load). All of one flood's
clients have one name. How the slow and the stalled among them end is a matter of who is first: the load, or the server.
"""

import asyncio
import json
import sys
from typing import Any

import fastfan.load
from tests.soak.departures import Ending
from tests.soak.plan import RECEIVE_BUFFER_BYTES, Plan
from tests.soak.programs import answer, asked_until_end, begin

# The load closes its sockets right behind its Closes, with whatever is still unread in them.
_CAUSES = frozenset(("closed", "left", "reset", "stalled", "too_far_behind", "no_pong"))


class Floods:
    def __init__(self, plan: Plan, port: int) -> None:
        self._plan = plan
        self._port = port
        self._endings: list[Ending] = []
        self._faults: list[str] = []
        self._counts = {"flood": 0, "published": 0, "delivered": 0, "visits": 0}
        self._load: fastfan.load.Load | None = None

    def take_report(self) -> dict[str, Any]:
        endings, self._endings = self._endings, []
        faults, self._faults = self._faults, []
        documents = [ending.to_document() for ending in endings]
        return {"endings": documents, "counts": dict(self._counts), "faults": faults}

    async def carry_on(self) -> None:
        while self._plan.flood_every:
            await asyncio.sleep(self._plan.flood_every)
            self._counts["flood"] += 1
            number = self._counts["flood"]
            self._endings.append(Ending(f"flood.{number}", _CAUSES, sure=False, many=True))
            try:
                await asyncio.to_thread(self._flood, self._load_plan(number))
            except fastfan.load.LoadStopped:
                return
            except fastfan.load.LoadError as error:
                self._faults.append(f"flood {number}: {error}")

    def stop(self) -> None:
        if self._load is not None:
            self._load.stop()

    def _load_plan(self, number: int) -> fastfan.load.Plan:
        # In turn: small messages without end, and large ones; every third where publishers are
        # held up rather than anybody disconnected: there slow readers would leave nothing of the flood.
        least, most = ((16, 512), (1 << 10, 256 << 10))[number % 2]
        blocks = number % 3 == 0
        return fastfan.load.Plan(
            port=self._port,
            path="/block/flood" if blocks else f"/flood/{number % 4}",
            query=f"?name=flood.{number}",
            subscribers=60,
            publishers=4,
            topics=2,
            visitors=12,
            slow=0 if blocks else 6,
            stalled=6,
            stay_seconds=0.5,
            seconds=self._plan.flood_seconds,
            least_bytes=least,
            most_bytes=most,
            text=number % 5 == 0,
            receive_buffer_bytes=RECEIVE_BUFFER_BYTES,
        )

    def _flood(self, plan: fastfan.load.Plan) -> None:
        with fastfan.load.Load(plan) as load:
            self._load = load
            load.connect()
            load.publish()
            load.close()
            report = load.report()
        self._load = None
        self._counts["published"] += report.published
        self._counts["delivered"] += report.delivered
        self._counts["visits"] += report.visits
        if not report.is_intact:
            self._faults.append(
                f"{plan.query}: {report.lost} lost, {report.duplicated} duplicated, {report.reordered} reordered, "
                f"{report.malformed} malformed, {report.departed} departed ({report.close_code}) {report.fault}"
            )


async def main() -> None:
    floods = Floods(Plan.from_document(json.loads(sys.argv[1])), int(sys.argv[2]))
    answer({})
    carrying_on = asyncio.create_task(floods.carry_on())
    await asked_until_end(floods.take_report)
    floods.stop()
    carrying_on.cancel()
    await asyncio.gather(carrying_on, return_exceptions=True)
    answer(floods.take_report())


if __name__ == "__main__":
    begin()
    asyncio.run(main())

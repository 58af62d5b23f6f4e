"""All of the population that comes and goes on its own, in one process: visitors, nonsense, laggards, crowds."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.soak.ground import Ground
from tests.soak.laggards import LAGGARDS
from tests.soak.nonsense import NONSENSE
from tests.soak.plan import Plan
from tests.soak.programs import answer, asked_until_end, begin
from tests.soak.visitors import VISITORS, crowd_member

# More at a time would measure this process.
_AT_ONCE = 400
_CROWD_SECONDS = 4.0

Kinds = Mapping[Callable[[Ground], Awaitable[None]], float]  # of clients, and how often they come


class Trouble:
    """Lets clients loose at random moments, at the plan's rates, until it is told to leave."""

    def __init__(self, plan: Plan, ground: Ground, visitors: Kinds = VISITORS) -> None:
        self._plan = plan
        self._ground = ground
        self._visitors = visitors
        self._tasks: set[asyncio.Task[None]] = set()

    async def carry_on(self) -> None:
        plan = self._plan
        async with asyncio.TaskGroup() as group:
            group.create_task(self._let_loose(plan.visits, self._visitors))
            group.create_task(self._let_loose(plan.nonsense, NONSENSE))
            group.create_task(self._let_loose(plan.laggards, LAGGARDS))
            group.create_task(self._gather_crowds())

    async def wind_down(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _let_loose(self, rate: float, kinds: Kinds) -> None:
        ground, weights = self._ground, list(kinds.values())
        while rate and not ground.leaving.is_set():
            await ground.stay(ground.random.expovariate(rate))
            if len(self._tasks) < _AT_ONCE and not ground.leaving.is_set():
                [kind] = ground.random.choices(list(kinds), weights)
                self._start(kind.__name__, kind(ground))

    async def _gather_crowds(self) -> None:
        ground, crowd = self._ground, 0
        while True:
            await ground.stay(self._plan.crowd_every)
            if ground.leaving.is_set() or not self._plan.crowd:
                return
            crowd += 1
            for member in range(self._plan.crowd):
                self._start("crowd", crowd_member(ground, f"/crowd/{crowd}/{member}"))
                await asyncio.sleep(_CROWD_SECONDS / self._plan.crowd)

    def _start(self, kind: str, client: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._one(kind, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, kind: str, client: Awaitable[None]) -> None:
        try:
            await client
        except (AssertionError, EOFError, OSError, TimeoutError) as error:
            # What a client did not get that it had a right to.
            self._ground.faults.append(f"{kind}: {type(error).__name__}: {error}")


async def main() -> None:
    plan = Plan.from_document(json.loads(sys.argv[1]))
    ground = Ground(int(sys.argv[2]), seed=f"{plan.seed} trouble")
    trouble = Trouble(plan, ground)

    def report() -> dict[str, Any]:
        return ground.take_report()

    answer({})
    carrying_on = asyncio.create_task(trouble.carry_on())
    await asked_until_end(report)
    ground.leaving.set()
    await carrying_on
    await trouble.wind_down()
    answer(report())


if __name__ == "__main__":
    begin()
    asyncio.run(main())

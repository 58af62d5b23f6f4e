"""Those at the end of a bad wire: readers and publishers like the steady ones, and visitors. Every packet is late, and
some are lost.

    server ── wire (tests/support/wires.py) ── a namespace with all of these

They have topics of their own, where publishers are as far away, and read those where slow readers are met. Within their
bounds they lose nothing either, but their latency is another matter and counted apart.
"""

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.soak.ground import Ground, Line
from tests.soak.plan import WITH_LAGGARDS, Plan
from tests.soak.programs import answer, asked_until_end, begin
from tests.soak.steady import Steady
from tests.soak.trouble import Trouble
from tests.soak.visitors import VISITORS, mid_handshake, unanswered
from tests.support.namespaces import Namespace, retransmitted
from tests.support.wires import Badness, missing_tun, tun_wire

_NET = "10.72.1"
_TOPIC = "/far/0"
_READERS = [(topic, at % 2 == 1) for at, topic in enumerate((*WITH_LAGGARDS, _TOPIC, _TOPIC))]
_VISITORS = {
    kind: weight
    for kind, weight in VISITORS.items()
    # Theirs may be refused for a packet that was lost, and they are gone by then: nobody reads it.
    if kind not in (mid_handshake, unanswered)
}
# Numbers that no other publisher has.
_PUBLISHERS = {101: (_TOPIC, False), 102: (_TOPIC, True)}


@contextlib.contextmanager
def _bad_wire(plan: Plan) -> Iterator[Namespace]:
    """The namespace at its other end."""
    dice = random.Random(f"{plan.seed} wire")
    with contextlib.closing(Namespace(here=True)) as here, contextlib.closing(Namespace()) as there:
        with tun_wire(here, there, _NET, Badness(plan.delay, plan.loss), dice):
            yield there


async def _stay(plan: Plan, port: int) -> dict[str, Any]:
    """All of it; the last report."""
    with _bad_wire(plan) as there:
        line = Line(f"{_NET}.1", there, is_lossy=True)
        ground = Ground(port, seed=f"{plan.seed} far", line=line, prefix="far_")
        timed = {topic for topic, _ in _READERS}
        steady = Steady(plan, ground, readers=_READERS, publishers=_PUBLISHERS, timed=timed)
        trouble = Trouble(replace(plan, visits=plan.wire_visits, nonsense=0, laggards=0, crowd=0), ground, _VISITORS)
        answer({})
        visiting = asyncio.create_task(trouble.carry_on())
        await steady.stay()
        await visiting
        await trouble.wind_down()
        return {**steady.take_report(), "sent_again": retransmitted(there)}


async def main() -> None:
    plan = Plan.from_document(json.loads(sys.argv[1]))
    if lacks := missing_tun():
        answer({"without": f"delay and loss: needs {lacks}"})
        await asked_until_end(dict)
        answer({})
    else:
        answer(await _stay(plan, int(sys.argv[2])))


if __name__ == "__main__":
    begin()
    asyncio.run(main())

"""Half-open peers: clients whose packets, from one moment on, no longer arrive, and nobody is told.

    server ── cable ── a group in a namespace        joins ─► is cut off ─► is missed by the server ─► mended, the next

Everybody of a group reads, and answers pings, for as long as anything gets through. What the server must find out is in
MEMBERS and LAST_MEMBERS, a function for each kind.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.soak.ground import GONE, Ground, Line
from tests.soak.plan import CUT_OFF, Plan
from tests.soak.programs import answer, asked_until_end, begin
from tests.support.cables import Cable
from tests.support.frames import parse
from tests.support.namespaces import Namespace
from tests.support.rawclient import PING, PONG, RawClient, close_frame, frame

_NET = "10.73"  # .CABLE.1 the server, .CABLE.2 the clients
_WAYS = (Cable.pull, Cable.drop_what_comes_from_the_server, Cable.drop_what_goes_to_the_server)
_BEFORE = (0.5, 4.0)  # seconds that a group is there before it is cut off
# ping_interval and pong_deadline, or the others, and close_deadline, are over by then.
_CUT_SECONDS = 12.0
_MIB = 1 << 20
_OWED_BYTES = 3 * _MIB // 2  # more than a socket takes for a peer that is silent


@dataclass(slots=True)
class _Group:
    """Those on one cable, from their coming to their end."""

    ground: Ground
    line: Line
    stack: contextlib.AsyncExitStack
    clients: list[RawClient] = field(default_factory=list)
    causes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # that are right, by name
    owed: list[str] = field(default_factory=list)  # topics to which much is to be published when the cable is cut
    requests: int = 0  # that are not whole

    async def join(self, kind: str, topic: str, role: str, *causes: str) -> RawClient:
        name = self.ground.name(kind)
        client = await self.stack.enter_async_context(self.ground.join(name, topic, role, line=self.line))
        self.clients.append(client)
        self.causes[name] = causes
        return client


# --- who is on a cable ----------------------------------------------------------------------------------------------


async def quiet(group: _Group) -> None:
    """Nothing is owed to them but pings."""
    for role in ("publisher", "subscriber"):
        await group.join("quiet", "/quiet", role, "no_pong")


async def busy(group: _Group) -> None:
    """Its socket fills with what others publish; where that is little, the pong is missed first."""
    await group.join("busy", group.ground.topic_for_laggards(), "subscriber", "stalled", "no_pong")


async def owed(group: _Group) -> None:
    """Its socket is full at once."""
    topic = f"/owed/{group.line.host}"
    await group.join("owed", topic, "subscriber", "stalled")
    group.owed.append(topic)


async def half_message(group: _Group) -> None:
    client = await group.join("half_message", group.ground.steady_topic(), "publisher", "policy", "no_pong")
    # A fragment, and not a part of a frame: pongs go between fragments.
    await client.send(frame(bytes(1000), fin=False))


async def half_request(group: _Group) -> None:
    name, ground = group.ground.name("half_request"), group.ground
    client = await group.stack.enter_async_context(ground.dial(line=group.line))
    group.clients.append(client)
    await client.send(ground.head(name, ground.topic(), ground.role())[:-2])
    group.requests += 1


MEMBERS: tuple[Callable[[_Group], Awaitable[None]], ...] = (quiet, busy, owed, half_message)
# These have less time than groups have before they are cut off.
LAST_MEMBERS: tuple[Callable[[_Group], Awaitable[None]], ...] = (half_request,)


async def _live(client: RawClient) -> None:
    with contextlib.suppress(OSError):
        while await client.read_some():
            frames, client.buffer[:] = parse(client.buffer)
            for opcode, payload in frames:
                if opcode == PING:
                    await client.send(frame(payload, PONG))


# --- what becomes of them -------------------------------------------------------------------------------------------


class CutOff:
    """A group after the other on each cable, until everybody leaves."""

    def __init__(self, plan: Plan, ground: Ground) -> None:
        self._ground = ground
        self._request_seconds = plan.options().handshake_deadline + 2.0

    async def carry_on(self, cable: Cable) -> None:
        ground = self._ground
        while not ground.leaving.is_set():
            try:
                async with contextlib.AsyncExitStack() as stack:
                    await self._one_group(_Group(ground, Line(cable.host, cable.clients_side), stack), cable)
            except (AssertionError, EOFError, OSError) as error:
                ground.faults.append(f"cut_off: {type(error).__name__}: {error}")

    async def _one_group(self, group: _Group, cable: Cable) -> None:
        ground = self._ground
        for begin_one in MEMBERS:
            await begin_one(group)
        living = [asyncio.create_task(_live(client)) for client in group.clients]
        try:
            await ground.stay(ground.random.uniform(*_BEFORE))
            for begin_one in LAST_MEMBERS:
                await begin_one(group)
            ground.random.choice(_WAYS)(cable)
            await self._be_missed(group)
        finally:
            cable.mend()
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)
            for client in group.clients:
                client.reset()

    async def _be_missed(self, group: _Group) -> None:
        """Until the server has found out. Who leaves earlier than that is heard of again, by a reset."""
        ground, loop = self._ground, asyncio.get_running_loop()
        cut_at = loop.time()
        for topic in group.owed:
            await self._publish_much(topic)
        await ground.stay(_CUT_SECONDS)
        also = GONE if ground.leaving.is_set() else ()
        for name, causes in group.causes.items():
            ground.ended(name, *causes, *also)
        # Nobody reads the refusals of these, but there must be one for each.
        await asyncio.sleep(max(0.0, cut_at + self._request_seconds - loop.time()))
        ground.refusals[408] += group.requests

    async def _publish_much(self, topic: str) -> None:
        ground = self._ground
        name = ground.name("owing")
        ground.ended(name, "closed")
        async with ground.join(name, topic, "publisher") as client:
            await client.send(frame(bytes(_OWED_BYTES)) + close_frame())
            await client.read_close()


def _cables(stack: contextlib.ExitStack, count: int) -> list[Cable]:
    made = []
    here = stack.enter_context(contextlib.closing(Namespace(here=True)))
    for number in range(count):
        there = stack.enter_context(contextlib.closing(Namespace()))
        made.append(Cable(here, there, f"cable{number}", f"{_NET}.{number}"))
    return made


async def main() -> None:
    plan = Plan.from_document(json.loads(sys.argv[1]))
    ground = Ground(int(sys.argv[2]), seed=f"{plan.seed} cut off", prefix=CUT_OFF)
    cut_off = CutOff(plan, ground)
    with contextlib.ExitStack() as stack:
        cables: list[Cable] = []
        try:
            cables = _cables(stack, plan.cables)
            answer({})
        except (AssertionError, OSError) as error:  # not every kernel has veth
            answer({"without": f"half-open peers: needs cables between network namespaces ({error})"})
        carrying_on = [asyncio.create_task(cut_off.carry_on(cable)) for cable in cables]
        await asked_until_end(ground.take_report)
        ground.leaving.set()
        await asyncio.gather(*carrying_on)
    answer(ground.take_report())


if __name__ == "__main__":
    begin()
    asyncio.run(main())

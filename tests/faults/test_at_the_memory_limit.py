"""At max_memory_bytes: memory stays within it, those who fill it go, and those who read keep getting everything."""

import asyncio
import random

import pytest

from tests.support.crew import Crew, crew
from tests.support.rawclient import CLOSE, PING, PONG, RawClient, frame
from tests.support.server import Scene, serving, wait_until

MIB = 1 << 20
LIMIT = 2 * MIB
TRY_LATER, POLICY = 1013, 1008
OPTIONS = {
    "max_memory_bytes": LIMIT,
    "max_message_bytes": MIB,
    "message_timeout": 1.0,
    "subscriber_write_timeout": 1.0,
    "close_deadline": 0.5,
    "ping_interval": 0.5,
    "pong_deadline": 30.0,
}
# What may be over the limit: chunks being handled and frames begun, both a few segments each.
SLACK = MIB // 2


class Watch:
    """The most memory that was ever seen in use."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.most = 0
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, self._scene.server.stats().memory_bytes)
            await asyncio.sleep(0.002)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def memory_is_back(scene: Scene) -> None:
    await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")


async def pour(client: RawClient, data: bytes) -> None:
    """Sends until all is taken, or the server ends it."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(client.sock, data)
    except ConnectionError:
        return


async def took_all(client: RawClient, data: bytes) -> bool:
    """Whether the server has all of it in its log; else it has said why not."""
    await pour(client, data + frame(b"all?", PING))
    while (got := await client.read_frame()) != (PONG, b"all?", True):
        if got.opcode == CLOSE:
            assert int.from_bytes(got.payload[:2], "big") in (TRY_LATER, POLICY)
            client.close()
            return False
    return True


async def delivered(scene: Scene, people: Crew) -> None:
    """A message between two who do as they should, on a topic of their own."""
    await people.join(scene.server.port, "subscriber", "/good")
    good = await people.join(scene.server.port, "publisher", "/good")
    await good.send(frame(b"at last"))
    await wait_until(lambda: people.heard[-2] == [b"at last"], "a message on another topic")


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no lane"])
async def test_many_half_sent_messages_end_and_the_others_go_on(lane: bool) -> None:
    async with serving(lane=lane, **OPTIONS) as scene, crew() as people:
        watch = Watch(scene)
        greedy = [await scene.join("/greedy", "publisher") for _ in range(8)]
        half = frame(bytes(MIB))[: MIB // 2]
        pouring = asyncio.gather(*(pour(client, half) for client in greedy))
        await wait_until(lambda: scene.server.stats().memory_bytes > LIMIT // 4, "memory in use")
        await delivered(scene, people)
        await wait_until(lambda: scene.server.stats().publishers == 1, "the end of the greedy")
        await pouring
        await watch.end()
        assert watch.most <= LIMIT + SLACK
        # policy: not complete in time; try_later: no room for the rest of it.
        assert set(scene.departures) <= {"policy", "try_later"}
        await memory_is_back(scene)


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no lane"])
async def test_subscribers_that_do_not_read_go_and_those_that_do_get_everything(lane: bool) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    random_ = random.Random(seed)
    async with serving(lane=lane, **OPTIONS) as scene, crew() as people:
        watch = Watch(scene)
        for _ in range(10):
            await scene.join(receive_buffer=4096)
        readers = [await people.join(scene.server.port) for _ in range(3)]
        publishers = [await scene.join(role="publisher") for _ in range(4)]
        scene.server.publish("/t", bytes(MIB // 2))  # more than a socket takes that nobody reads
        said = [
            [b"%d %d " % (who, number) + bytes(random_.choice([0, 5000, MIB // 4])) for number in range(40)]
            for who in range(len(publishers))
        ]
        took = await asyncio.gather(
            *(took_all(client, b"".join(map(frame, mine))) for client, mine in zip(publishers, said, strict=True))
        )
        await wait_until(lambda: scene.server.stats().subscribers == len(readers), "the end of those who do not read")
        await wait_until(lambda: scene.server.stats().memory_bytes == 0, "everything delivered")
        heard = people.heard[: len(readers)]
        await wait_until(lambda: all(len(each) == 1 + scene.server.stats().messages for each in heard), "every message")
        assert heard == [heard[0]] * len(readers)
        for who, mine in enumerate(said):
            begins = [message for message in heard[0] if message.startswith(b"%d " % who)]
            assert begins == (mine if took[who] else mine[: len(begins)])
        await watch.end()
        assert watch.most <= LIMIT + SLACK
        # Publishers: try_later, whose message found no room; policy, none in all of message_timeout.
        sent_away = {cause: scene.departures.get(cause, 0) for cause in ("try_later", "policy")}
        assert sum(sent_away.values()) == took.count(False)
        assert set(scene.departures) - set(sent_away) <= {"stalled", "memory", "too_far_behind"}
        assert people.alive == len(readers)

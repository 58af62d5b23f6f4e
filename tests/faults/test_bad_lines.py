"""Late and lossy lines between the server and its clients: nothing is lost, doubled or reordered."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager

import pytest

from tests.support.crew import Crew, crew
from tests.support.namespaces import Namespace, dial_from, listening, namespaces, retransmitted
from tests.support.rawclient import CONTINUATION, RawClient, close_frame, frame, request
from tests.support.server import Scene, serving, wait_until
from tests.support.wires import Badness, missing_netem, missing_tun, netem_wire, tun_wire

NET = "10.72.1"
LINES = {
    "late": Badness(delay_seconds=0.05, loss=0.0),
    "late and lossy": Badness(delay_seconds=0.02, loss=0.02),
}
MESSAGES = 60
# More than any line here needs.
PATIENT = {"ping_interval": 0.5, "pong_deadline": 20.0, "close_deadline": 20.0, "subscriber_write_timeout": 30.0}

Wire = Callable[[Namespace, Namespace, str, Badness, random.Random], AbstractContextManager[None]]


def wires() -> list[object]:
    skipped = ((netem_wire, missing_netem()), (tun_wire, missing_tun()))
    return [
        pytest.param(wire, marks=pytest.mark.skipif(lacks != "", reason=f"needs {lacks}"), id=wire.__name__)
        for wire, lacks in skipped
    ]


class Places:
    """The server's namespace and one behind the wire."""

    def __init__(self, scene: Scene, people: Crew, here: Namespace, there: Namespace) -> None:
        self.scene = scene
        self.people = people
        self.places = {"here": here, "there": there}

    async def join(self, place: str, role: str) -> RawClient:
        client = await dial_from(self.places[place], f"{NET}.1", self.scene.server.port)
        self.people.keep(client)
        await client.upgrade(request("/t", role=role))
        return client


@pytest.fixture(params=wires())
async def places(request: pytest.FixtureRequest, badness: Badness) -> AsyncIterator[Places]:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    wire: Wire = request.param
    with namespaces(2) as (here, there), wire(here, there, NET, badness, random.Random(seed)):
        async with serving(sock=listening(here), **PATIENT) as scene, crew() as people:
            yield Places(scene, people, here, there)
            for client in people.clients:
                with contextlib.suppress(OSError):
                    client.reset()


def numbered(who: int, random_: random.Random) -> list[bytes]:
    sizes = [random_.choice([0, 100, 1000, 20_000]) for _ in range(MESSAGES)]
    return [b"%d %d " % (who, number) + bytes(size) for number, size in enumerate(sizes)]


async def publish(client: RawClient, messages: list[bytes], random_: random.Random) -> None:
    for message in messages:
        cut = random_.randrange(len(message))
        whole = random_.random() < 0.7
        await client.send(
            frame(message) if whole else frame(message[:cut], fin=False) + frame(message[cut:], CONTINUATION)
        )


@pytest.mark.parametrize("badness", LINES.values(), ids=LINES)
async def test_nothing_is_lost_doubled_or_reordered_over_a_bad_line(places: Places, badness: Badness) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    random_ = random.Random(seed)
    sides = ["here", "here", "there", "there"]
    subscribers = [await places.join(side, "subscriber") for side in sides]
    publishers = [await places.join(side, "publisher") for side in sides]
    heard = [places.people.live(client) for client in subscribers]
    said = [numbered(who, random_) for who in range(len(publishers))]
    await asyncio.gather(*(publish(client, mine, random_) for client, mine in zip(publishers, said, strict=True)))
    await wait_until(lambda: all(len(each) >= MESSAGES * len(said) for each in heard), "every message")
    assert heard == [heard[0]] * len(subscribers)
    for who, mine in enumerate(said):
        assert [message for message in heard[0] if message.startswith(b"%d " % who)] == mine
    assert places.scene.departures == {}
    # It was as bad as it should be.
    assert not badness.loss or retransmitted(places.places["here"]) > 0


@pytest.mark.parametrize("badness", [LINES["late and lossy"]], ids=["late and lossy"])
async def test_who_leaves_over_a_bad_line_departs_for_what_it_did_and_nobody_else(
    places: Places, badness: Badness
) -> None:
    stays = [places.people.live(await places.join(side, "subscriber")) for side in ("here", "there")]
    closes, leaves = [await places.join("there", "subscriber") for _ in range(2)]
    silent = await places.join("there", "duplex")
    await closes.send(close_frame())
    assert await closes.read_close() == (1000, "")
    closes.close()
    leaves.sock.shutdown(socket.SHUT_WR)
    await places.scene.wait_departures(closed=1, left=1)
    places.scene.server.publish("/t", b"to those who are there")
    await wait_until(lambda: stays == [[b"to those who are there"]] * 2, "the message")
    assert await silent.read_message() == b"to those who are there"
    await places.scene.wait_departures(closed=1, left=1)

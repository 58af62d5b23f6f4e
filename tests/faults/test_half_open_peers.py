"""Peers whose packets no longer arrive, without a word: found gone by what they owe, and nobody else notices.

Two cables from the server's namespace, one to those who are cut off, one to those who stay.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.cables import Cable
from tests.support.crew import crew
from tests.support.namespaces import Namespace, dial_from, joined_by_veth, listening, missing, namespaces
from tests.support.rawclient import RawClient, frame, request
from tests.support.server import Scene, serving, wait_until

pytestmark = pytest.mark.skipif(missing() != "", reason=f"needs {missing()}")

QUICK = {"ping_interval": 0.3, "pong_deadline": 0.6, "close_deadline": 0.3, "subscriber_write_timeout": 0.8}
STAYS, CUT = "10.71.1", "10.71.2"


class Net:
    """A server and who reaches it by which cable."""

    def __init__(self, scene: Scene, stays: Namespace, cable: Cable) -> None:
        self.scene = scene
        self.stays = stays
        self.cable = cable  # to those who are cut off
        self.clients: list[RawClient] = []

    async def join(self, net: str, target: str, role: str, *, receive_buffer: int | None = None) -> RawClient:
        client = await self.dial(net, receive_buffer=receive_buffer)
        await client.upgrade(request(target, role=role))
        return client

    async def dial(self, net: str, *, receive_buffer: int | None = None) -> RawClient:
        place = self.stays if net == STAYS else self.cable.clients_side
        client = await dial_from(place, f"{net}.1", self.scene.server.port, receive_buffer=receive_buffer)
        self.clients.append(client)
        return client

    def hang_up(self) -> None:
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.reset()  # a socket that still has something to say would keep its namespace for minutes


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    with namespaces(3) as places:
        joined_by_veth(places[0], places[1], "stays", STAYS)
        cable = Cable(places[0], places[2], "cut", CUT)
        async with serving(sock=listening(places[0]), handshake_deadline=0.5, message_timeout=0.5, **QUICK) as scene:
            net = Net(scene, places[1], cable)
            try:
                yield net
            finally:
                net.hang_up()


WAYS = [Cable.pull, Cable.drop_what_comes_from_the_server, Cable.drop_what_goes_to_the_server]


class Talk:
    """A publisher and a subscriber that stay, and say a number after the other all the time."""

    def __init__(self, publisher: RawClient, subscriber: RawClient) -> None:
        self._task = asyncio.create_task(self._go_on(publisher, subscriber))
        self.said = 0

    async def _go_on(self, publisher: RawClient, subscriber: RawClient) -> None:
        while True:
            await publisher.send(frame(b"%d" % self.said))
            assert await subscriber.read_message() == b"%d" % self.said
            self.said += 1
            await asyncio.sleep(0.01)

    async def wait_more(self) -> None:
        before = self.said
        await wait_until(lambda: self._task.done() or self.said > before + 10, "more of the talk")
        assert not self._task.done(), self._task.exception()

    async def end(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@contextlib.asynccontextmanager
async def talking(net: Net) -> AsyncIterator[Talk]:
    talk = Talk(await net.join(STAYS, "/talk", "publisher"), await net.join(STAYS, "/talk", "subscriber"))
    try:
        await talk.wait_more()
        yield talk
        await talk.wait_more()
    finally:
        await talk.end()


@pytest.mark.parametrize("cut", WAYS, ids=lambda way: way.__name__)
async def test_a_peer_that_is_cut_off_is_gone_for_want_of_a_pong(net: Net, cut: Callable[[Cable], None]) -> None:
    async with talking(net) as talk:
        for role in ("publisher", "subscriber", "duplex"):
            await net.join(CUT, "/quiet", role)
        cut(net.cable)
        # Little is owed: it is in the socket's buffer, and the pong is what is missed.
        net.scene.server.publish("/quiet", b"to nobody")
        await net.scene.wait_departures(no_pong=3)
        await talk.wait_more()
    assert net.scene.departures == {"no_pong": 3}


async def test_a_subscriber_that_is_cut_off_with_data_owed_is_stalled(net: Net) -> None:
    async with talking(net) as talk:
        stalled = await net.join(CUT, "/big", "subscriber")
        good = await net.join(STAYS, "/big", "subscriber")
        net.cable.pull()
        net.scene.server.publish("/big", bytes(8_000_000))
        assert await good.read_message() == bytes(8_000_000)
        good.close()
        await net.scene.wait_departures(left=1)
        await net.scene.wait_departures(left=1, stalled=1)
        await talk.wait_more()
        await wait_until(lambda: net.scene.server.stats().memory_bytes == 0, "no memory held")
        # The cable is there again, and with it the server's word that the connection is not.
        net.cable.mend()
        await wait_until(lambda: has_been_reset(stalled), "a reset")


def has_been_reset(client: RawClient) -> bool:
    try:
        client.sock.send(frame(b"is anybody there?"))
        while client.sock.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


async def test_half_a_message_and_half_a_request_of_peers_that_are_cut_off_are_forgotten(net: Net) -> None:
    async with talking(net), crew() as people:
        heard = people.live(await net.join(STAYS, "/t", "subscriber"))
        publisher = await net.join(CUT, "/t", "publisher")
        arriving = await net.dial(CUT)
        came = net.scene.server.stats().received_bytes
        half = frame(bytes(1000))[:-1]
        await arriving.send(request("/t")[:-2])
        await publisher.send(frame(b"whole") + half)
        await wait_until(lambda: net.scene.server.stats().received_bytes - came > len(half), "half a message")
        net.cable.pull()
        await wait_until(lambda: net.scene.server.stats().refusals == {408: 1}, "the end of the request")
        await wait_until(lambda: net.scene.departures, "a departure")
        # Whichever deadline is first looked at: of the message, or of the pong.
        assert set(net.scene.departures) <= {"policy", "no_pong", "close_timeout"}
        await wait_until(lambda: net.scene.server.stats().memory_bytes == 0, "no memory held")
        net.scene.server.publish("/t", b"next")
        await wait_until(lambda: heard == [b"whole", b"next"], "the next message, and no half one")


async def test_who_is_back_in_time_has_lost_nothing(net: Net) -> None:
    async with talking(net):
        subscriber = await net.join(CUT, "/t", "subscriber")
        net.cable.drop_what_comes_from_the_server()
        for number in range(5):
            net.scene.server.publish("/t", b"%d" % number)
        net.cable.mend()
        assert await subscriber.read_messages(5) == [b"%d" % number for number in range(5)]
        assert net.scene.departures == {}

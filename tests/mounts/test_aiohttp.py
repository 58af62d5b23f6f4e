"""The hub in an aiohttp application: the same clients, refusals and end."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

import pubsub.aiohttp
from pubsub import ConnectionClosed, Hub, MisuseError, Options, Publisher, Subscriber, UpgradeRefused
from tests.support.functional import Plan, carry_out, load_payloads
from tests.support.rawclient import BINARY, PATIENCE, RawClient, close_frame, frame, request
from tests.support.server import wait_until


class Site:
    def __init__(self, hub: Hub, runner: web.AppRunner, port: int) -> None:
        self.hub = hub
        self.runner = runner
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/live"

    def unsent(self) -> int:
        """Bytes that aiohttp has for its clients and their sockets have no room for."""
        assert self.runner.server is not None
        transports = [each.transport for each in self.runner.server.connections]
        return sum(each.get_write_buffer_size() for each in transports if each is not None)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    # Nothing here is to wait for this deadline.
    hub = Hub(Options(max_message_bytes=1 << 20, allow_hosts=("a.example",), close_deadline=4 * PATIENCE))
    site = await site_of(hub)
    yield site
    await site.runner.cleanup()


async def site_of(hub: Hub) -> Site:
    app = web.Application()
    pubsub.aiohttp.mount(app, "/live", hub)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return Site(hub, runner, runner.addresses[0][1])


async def test_every_message_reaches_everybody_whole_and_in_order(site: Site) -> None:
    await carry_out(Plan(publishers=2, subscribers=3, payloads=load_payloads(messages=20)), f"{site.url}/functional")


async def test_the_programs_messages_reach_them_too_and_topics_are_the_same(site: Site) -> None:
    async with Subscriber(f"{site.url}/caf%C3%A9") as subscriber:
        site.hub.publish("/café", b"x")
        assert await anext(subscriber) == b"x"


async def test_refusals_have_their_status_and_their_line(site: Site) -> None:
    with pytest.raises(UpgradeRefused) as refused:
        await Subscriber(f"{site.url}/a?pubsub=publisher").__aenter__()
    assert refused.value.status == 400 and "disagree" in refused.value.body
    client = await RawClient.dial(site.port)
    await client.send(request("/live/a", ("Connection", "close"), without=("Upgrade", "Connection")))
    response = await client.read_response()
    assert response.status == 426 and response.headers["upgrade"] == "websocket"
    client.close()
    other = (("Host", "evil.example"), ("Connection", "Upgrade, close"))
    client = await RawClient.dial(site.port)
    await client.send(request("/live/a", *other, without=("Host", "Connection")))
    assert (await client.read_response()).status == 421
    client.close()
    assert site.hub.stats().refusals == {400: 1, 421: 1, 426: 1}


async def test_a_message_that_is_too_large_is_told_so(site: Site) -> None:
    async with Publisher(f"{site.url}/a") as publisher:
        await publisher.publish(bytes(1 << 20))
        await wait_until(lambda: site.hub.stats().messages == 1)
        await publisher.publish(bytes((1 << 20) + 1))
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(10):
                while True:
                    await publisher.publish(b"x")
                    await asyncio.sleep(0.01)
        assert closed.value.code == 1009
    await wait_until(lambda: site.hub.stats().departures == {"too_big": 1})


async def test_shutting_down_closes_clients_with_1012(site: Site) -> None:
    async with Subscriber(f"{site.url}/a") as subscriber:
        await site.runner.cleanup()
        with pytest.raises(ConnectionClosed) as closed:
            await anext(subscriber)
        assert closed.value.code == 1012


@pytest.mark.parametrize("role", ["subscriber", "publisher"])
async def test_shutting_down_waits_for_no_answer_that_cannot_come(site: Site, role: str) -> None:
    client = await RawClient.dial(site.port)
    await client.upgrade(request("/live/a", role=role))
    shutting_down = asyncio.create_task(site.runner.cleanup())
    assert (await client.read_close())[0] == 1012
    await client.send(close_frame(1012))
    # As RFC 6455 section 7.1.1 has it: the server ends the stream, and the client waits for that.
    await client.read_end()
    client.close()
    async with asyncio.timeout(PATIENCE):
        await shutting_down
    assert site.hub._term is None


async def test_shutting_down_takes_leave_of_who_goes_on_publishing(site: Site) -> None:
    client = await RawClient.dial(site.port)
    await client.upgrade(request("/live/a", role="publisher"))
    shutting_down = asyncio.create_task(site.runner.cleanup())
    while site.hub._term is not None and not site.hub._term.closing:
        await client.send(frame(bytes(1000)))
    await client.send(frame(bytes(100_000)))
    assert (await client.read_close())[0] == 1012
    client.close()
    async with asyncio.timeout(PATIENCE):
        await shutting_down


async def test_shutting_down_gives_a_slow_client_what_was_sent_before_the_close(site: Site) -> None:
    client = await RawClient.dial(site.port, receive_buffer=4096)
    await client.upgrade(request("/live/a"))
    messages = [bytes([number]) * 500_000 for number in range(8)]
    for message in messages:
        site.hub.publish("/a", message)
    await wait_until(lambda: site.unsent() > 0)
    shutting_down = asyncio.create_task(site.runner.cleanup())
    await wait_until(lambda: site.hub._term is None)
    assert not shutting_down.done()
    got = await client.read_frame()
    while got.opcode == BINARY:
        assert got.payload == messages.pop(0)
        got = await client.read_frame()
    assert got.payload[:2] == (1012).to_bytes(2, "big")
    client.close()
    async with asyncio.timeout(PATIENCE):
        await shutting_down


async def test_of_two_applications_the_last_to_shut_down_ends_the_hub_and_each_its_own_clients() -> None:
    hub = Hub()
    first, last = await site_of(hub), await site_of(hub)
    async with Subscriber(f"{first.url}/a") as of_first, Subscriber(f"{last.url}/a") as of_last:
        await first.runner.cleanup()
        with pytest.raises(ConnectionClosed, match="1012"):
            await anext(of_first)
        hub.publish("/a", b"x")
        assert await anext(of_last) == b"x"
        await last.runner.cleanup()
        with pytest.raises(ConnectionClosed, match="1012"):
            await anext(of_last)
    with pytest.raises(MisuseError, match="closed"):
        hub.publish("/a", b"x")


@pytest.mark.parametrize("starts", [True, False])
async def test_after_an_application_the_hub_ends_with_whoever_has_it_next(starts: bool) -> None:
    async def fail(_app: web.Application) -> None:
        raise LookupError("of the program")

    hub, app = Hub(), web.Application()
    pubsub.aiohttp.mount(app, "/live", hub)
    runner = web.AppRunner(app)
    if starts:
        await runner.setup()
    else:
        app.on_startup.append(fail)
        with pytest.raises(LookupError):
            await runner.setup()
    await runner.cleanup()
    async with hub:
        hub.publish("/a", b"x")
    with pytest.raises(MisuseError, match="closed"):
        hub.publish("/a", b"x")

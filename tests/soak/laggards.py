"""Clients that are too slow for somebody's rule: slow and stalled readers, the silent, and who never finishes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tests.soak.ground import GONE, Ground, read_out
from tests.support.rawclient import PONG, close_frame, frame

__all__ = ["LAGGARDS"]

_MIB = 1 << 20
_BEHIND = ("stalled", "too_far_behind")


async def slow(ground: Ground) -> None:
    """Reads a little now and then, and says that it lives; in the end it leaves, if it was not sent away."""
    name = ground.name("slow")
    async with ground.join(name, ground.topic_for_laggards(), "subscriber", receive_buffer=1 << 15) as client:
        ends = asyncio.get_running_loop().time() + ground.random.uniform(5, 40)
        ground.ended(name, "closed", *_BEHIND)
        loop, sock = asyncio.get_running_loop(), client.sock
        try:
            while loop.time() < ends and not ground.leaving.is_set():
                await ground.stay(ground.random.uniform(0.05, 0.5))
                async with asyncio.timeout(5):
                    if not await loop.sock_recv(sock, 1 << 14):
                        return
                await client.send(frame(b"", PONG))
            await client.send(close_frame())
        except (ConnectionError, TimeoutError):
            return
        await read_out(client)


async def stalled(ground: Ground) -> None:
    """Never reads. Where little is published the kernel takes all of it, and the missing pong tells."""
    name = ground.name("stalled")
    async with ground.join(name, ground.topic_for_laggards(), "subscriber", receive_buffer=1 << 13):
        # By then every deadline is over.
        await ground.stay(15)
        if ground.leaving.is_set():
            ground.ended(name, *_BEHIND, "no_pong", *GONE)
        else:
            ground.ended(name, *_BEHIND, "no_pong")


async def silent(ground: Ground) -> None:
    """Reads everything, and answers nothing."""
    name = ground.name("silent")
    async with ground.join(name, "/quiet", ground.role()) as client:
        ground.ended(name, "no_pong")
        await read_out(client)


async def endless(ground: Ground) -> None:
    """Begins a message, goes on with it byte by byte, and never ends it."""
    name = ground.name("endless")
    async with ground.join(name, ground.steady_topic(), "publisher") as client:
        ground.ended(name, "policy")
        whole = frame(ground.random.randbytes(_MIB))
        await client.send(whole[: _MIB // 2])
        reading = asyncio.create_task(read_out(client))
        at = _MIB // 2
        while not reading.done():
            with contextlib.suppress(ConnectionError):
                await client.send(whole[at : at + 1])
            at += 1
            await asyncio.wait([reading], timeout=0.2)
        await reading


LAGGARDS: dict[Callable[[Ground], Awaitable[None]], float] = {slow: 3, stalled: 2, silent: 1, endless: 2}

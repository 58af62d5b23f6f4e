"""Clients that come and go, in all the ways there are. Each function is one of them, from its coming to its end."""

from collections.abc import Awaitable, Callable

from tests.soak.ground import Ground, read_out
from tests.support.rawclient import TEXT, close_frame, frame

__all__ = ["VISITORS", "crowd_member"]

_MOST_SECONDS = 1.0
# A subscriber that reads nothing while it is here can be sent away by a burst of large messages.
_SENT_AWAY = "too_far_behind"


async def polite(ground: Ground) -> None:
    """Closes, and waits for the answer. What a subscriber says before is thrown away."""
    name, role = ground.name("polite"), ground.role()
    async with ground.join(name, ground.topic(), role) as client:
        if role == "subscriber":
            await client.send(frame("is anybody there?", TEXT) + frame(bytes(ground.random.randrange(70_000))))
        await ground.stay(ground.random.random() * _MOST_SECONDS)
        ground.ended(name, "closed", *([_SENT_AWAY] if role == "subscriber" else []))
        await client.send(close_frame())
        await read_out(client)


async def brief_topic(ground: Ground) -> None:
    """A topic of its own, one message, and gone; the topic lingers."""
    name = ground.name("brief_topic")
    async with ground.join(name, f"/brief/{name}", "publisher") as client:
        ground.ended(name, "closed")
        await client.send(frame(b"hello") + close_frame())
        await read_out(client)


async def half_closed(ground: Ground) -> None:
    """A FIN, and reads what there is."""
    name, role = ground.name("half_closed"), ground.role()
    async with ground.join(name, ground.topic(), role) as client:
        await ground.stay(ground.random.random() * _MOST_SECONDS)
        ground.ended(name, "left", *([_SENT_AWAY] if role == "subscriber" else []))
        client.finish()
        await read_out(client)


async def hung_up(ground: Ground) -> None:
    """Closes its socket, whatever is in it."""
    name, role = ground.name("hung_up"), ground.role()
    async with ground.join(name, ground.topic(), role):
        await ground.stay(ground.random.random() * _MOST_SECONDS)
        ground.ended(name, *ground.gone, *([_SENT_AWAY] if role == "subscriber" else []))


async def reset(ground: Ground) -> None:
    name, role = ground.name("reset"), ground.role()
    async with ground.join(name, ground.topic(), role) as client:
        await ground.stay(ground.random.random() * _MOST_SECONDS)
        ground.ended(name, *ground.gone, *([_SENT_AWAY] if role == "subscriber" else []))
        client.reset()


async def mid_frame(ground: Ground) -> None:
    """A publisher that is cut off in the middle of a message, in the header or in the payload."""
    name = ground.name("mid_frame")
    async with ground.join(name, ground.steady_topic(), "publisher") as client:
        ground.ended(name, *ground.gone)
        whole = frame(ground.random.randbytes(ground.random.choice((200, 70_000))))
        await client.send(whole[: ground.random.randrange(1, len(whole))])
        if ground.random.random() < 0.5:
            client.reset()


async def mid_handshake(ground: Ground) -> None:
    """Gone before its request was whole: the server never had a client."""
    name = ground.name("mid_handshake")
    async with ground.dial_unread() as client:
        head = ground.head(name, ground.topic(), ground.role())
        await client.send(head[: ground.random.randrange(0, len(head) - 1)])
        await ground.stay(ground.random.random() * 0.2)
        if ground.random.random() < 0.5:
            client.reset()


async def unanswered(ground: Ground) -> None:
    """A whole request, and gone without reading the answer."""
    name = ground.name("unanswered")
    async with ground.dial_unread() as client:
        ground.ended(name, *ground.gone, sure=False)
        await client.send(ground.head(name, ground.topic(), ground.role()))
        if ground.random.random() < 0.5:
            client.reset()


async def crowd_member(ground: Ground, topic: str) -> None:
    """One of a thousand that come at once, each with a topic of its own."""
    name = ground.name("crowd")
    async with ground.join(name, topic, "subscriber") as client:
        await ground.stay(ground.random.random())
        ground.ended(name, "closed")
        await client.send(close_frame())
        await read_out(client)


VISITORS: dict[Callable[[Ground], Awaitable[None]], float] = {
    polite: 3,
    brief_topic: 3,
    half_closed: 1,
    hung_up: 1,
    reset: 1,
    mid_frame: 1,
    mid_handshake: 1,
    unanswered: 1,
}

"""The same requests to a server that scans upgrades and to one where wsproto reads them all. Nobody can tell.

Compared are the answers to the last byte, but for what is random in them, the events, and the counts.
"""

import os
import random
import re

from tests.support.server import Scene, serving
from tests.support.upgrades import SENT_BY, random_cut, random_upgrade

# More by hand: FASTFAN_EXAMPLES=10000 make test ARGS="tests/server/test_upgrades_both_ways.py"
EXAMPLES = int(os.environ.get("FASTFAN_EXAMPLES", "300"))
LIMIT = 1024
RANDOM = re.compile(rb"(pubsub-client-id: [^\r]*-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(pubsub-epoch: )\d+")


async def told(scene: Scene, pieces: list[bytes]) -> bytes:
    """What a client that sends these pieces is answered; it has left when this returns."""
    client = await scene.dial()
    for piece in pieces:
        await client.send(piece)
    client.finish()
    got = await client.read_rest()
    client.close()
    await scene.wait_empty()
    return RANDOM.sub(rb"\1\3", got)


async def events_of(scene: Scene) -> list[tuple[str, str, str]]:
    """All of them, once the server is closed; of a client's id its name."""
    await scene.server.close()
    return [(it.type.label, it.client_id[:-36], it.subscription_topic) async for it in scene.events]


async def test_the_same_request_has_the_same_answer_and_events_scanned_or_not() -> None:
    async with (
        serving(max_head_bytes=LIMIT, event_buffer=5 * EXAMPLES) as scanning,
        serving(max_head_bytes=LIMIT, event_buffer=5 * EXAMPLES, lane=False) as plain,
    ):
        for seed in range(EXAMPLES):
            random_ = random.Random(seed)
            pieces = random_cut(random_, random_upgrade(random_))
            assert await told(scanning, pieces) == await told(plain, pieces), f"seed {seed}"
        for head in SENT_BY.values():
            one, other = await told(scanning, [head]), await told(plain, [head])
            assert one == other
            assert one.startswith(b"HTTP/1.1 101 ")
        assert scanning.server.stats().refusals == plain.server.stats().refusals
        assert scanning.server.stats().departures == plain.server.stats().departures
        assert await events_of(scanning) == await events_of(plain)

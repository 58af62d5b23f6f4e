"""The same bytes, cut anywhere, down both ways: through the lane, and all of them through wsproto. Nobody can tell.

Compared are what subscribers get, what the client is answered to the last byte, why it departed, and what is counted.
Most examples go over socket pairs into an engine and its sessions in this thread, piece by piece; some through a whole
server. One thing can be told, and is left out of the comparison: half a surrogate.
"""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER
from pubsub.session import Session, Sessions
from tests.fuzz import streams
from tests.support.bothways import BothWays, difference_of, read_script, shrunk, write_script
from tests.support.clientstreams import LIMIT, Script, Scripts, client_stream, cut
from tests.support.rawclient import TEXT, RawClient, close_frame, frame
from tests.support.server import Scene, serving, wait_until
from tests.support.ways import Answers, to_answers

# More by hand: make fuzz ARGS="targets=streams seconds=3600"
EXAMPLES = int(os.environ.get("FASTFAN_EXAMPLES", "3000"))
END = b"the end"
KEPT = sorted(streams.CORPUS.iterdir())


@pytest.fixture
def ways() -> Iterator[BothWays]:
    both = BothWays()
    yield both
    both.end()


def test_the_same_bytes_have_the_same_outcome_with_the_lane_and_without(ways: BothWays) -> None:
    scripts = Scripts("a test")
    for start in range(0, EXAMPLES, 200):
        lives = [scripts.take() for _ in range(200)]
        assert ways.play(lives) == {}, f"of the 200 from {start} on"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_was_found_once_makes_no_difference_any_more(path: Path) -> None:
    assert difference_of(read_script(path)) == ""


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
@pytest.mark.parametrize("payload", [b"a" * (LIMIT + 1) + b"\xc3", b"\xff" + b"a" * LIMIT, b"a" * LIMIT + b"\xff"])
def test_of_a_text_that_is_too_large_and_no_text_the_same_is_said(role: int, payload: bytes) -> None:
    assert difference_of(Script(role, [frame(payload, TEXT)], "finish")) == ""


def test_what_makes_a_difference_is_made_small_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    publish = Sessions._publish

    def forget_one(sessions: Sessions, session: Session, messages: list[bytes | str]) -> None:
        publish(sessions, session, [it for it in messages if it != b"abc"])

    monkeypatch.setattr(Sessions, "_publish", forget_one)  # the lane does without it
    one = frame(b"abc")
    pieces = [frame(b"x" * 300), frame("abcd", TEXT) + one[:3], one[3:] + frame(b"y" * 70), close_frame()]
    script = Script(PUBLISHER, pieces, "gone", publish_at=1, close_at=3)
    least = shrunk(script)
    assert least == Script(PUBLISHER, [one], "finish")
    assert "departed left" in difference_of(least)
    write_script(tmp_path / "kept.json", least)
    assert read_script(tmp_path / "kept.json") == least


def test_the_program_tells_what_it_played_and_with_what_seed() -> None:
    command = [sys.executable, "-m", "tests.fuzz.streams", "streams=300", "seed=7"]
    done = subprocess.run(command, cwd=streams.ROOT, capture_output=True, text=True, timeout=50, check=True)
    assert re.match(r"streams: 300 of .* without a difference in .*; seed=7\n", done.stdout)


# --- a server -------------------------------------------------------------------------------------------------------


async def carried(scene: Scene, topic: str, role: str, pieces: list[bytes]) -> tuple[bytes, Answers]:
    """What a subscriber and the client got of it."""
    subscriber, client = await scene.join(topic), await scene.join(topic, role)
    try:
        for piece in pieces:
            await client.send(piece)
        client.finish()
    except ConnectionError:
        pass
    answers = await everything(client)
    client.close()
    await wait_until(lambda: present(scene) == 1, "the client's departure")
    scene.server.publish(topic, END)
    got = b""
    while not got.endswith(END):
        assert await subscriber.read_some()
        got = bytes(subscriber.buffer)
    subscriber.close()
    await scene.wait_empty()
    return got, answers


def present(scene: Scene) -> int:
    stats = scene.server.stats()
    return stats.publishers + stats.subscribers


async def everything(client: RawClient) -> Answers:
    try:
        return to_answers(await client.read_rest())
    except ConnectionError:
        return Answers([], [], [])  # the server had enough of what we still sent


def counts(scene: Scene) -> tuple[object, ...]:
    stats = scene.server.stats()
    return stats.messages, stats.message_bytes, stats.ignored_messages, stats.departures


@pytest.mark.slow
async def test_through_a_server_it_is_the_same() -> None:
    async with serving(max_message_bytes=LIMIT) as laned, serving(max_message_bytes=LIMIT, lane=False) as plain:
        for seed in range(EXAMPLES // 20):
            random_ = random.Random(seed)
            stream = client_stream(random_)
            role = random_.choice(["publisher", "publisher", "subscriber"])
            one = await carried(laned, f"/{seed}", role, cut(random_, stream))
            other = await carried(plain, f"/{seed}", role, cut(random_, stream))
            assert one[0] == other[0], f"seed {seed}"
            assert one[1].agrees(other[1]), f"seed {seed}: {str(one[1])[:300]} and {str(other[1])[:300]}"
            assert counts(laned) == counts(plain), f"seed {seed}"


async def test_half_a_surrogate_is_refused_by_the_lane_at_once_and_by_wsproto_with_its_next_byte() -> None:
    # Nothing that begins so is UTF-8; CPython's decoder, which wsproto has, looks at the third byte all the same.
    begun = frame(b"\xed\xa0\x80", TEXT)
    async with serving() as laned, serving(lane=False) as plain:
        for scene, sent in ((laned, begun[:-1]), (plain, begun)):
            client = await scene.join("/t", "publisher")
            await client.send(sent)
            assert await client.read_close() == (1007, "text is not UTF-8")

"""A peer that breaks RFC 6455: the code that it names, a Close the client can read, and nobody else is concerned."""

import asyncio
import struct

import pytest

from pubsub.closing import closing
from tests.support.rawclient import CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, frame
from tests.support.server import Scene, serving, wait_until

PROTOCOL_ERROR, BAD_DATA = 1002, 1007

BAD = {
    "unmasked": (frame(b"x", masked=False), PROTOCOL_ERROR),
    "unmasked text": (frame("x", TEXT, masked=False), PROTOCOL_ERROR),
    "unmasked ping": (frame(b"", PING, masked=False), PROTOCOL_ERROR),
    "unmasked close": (frame(struct.pack(">H", 1000), CLOSE, masked=False), PROTOCOL_ERROR),
    "reserved bit 1": (frame(b"x", rsv=4), PROTOCOL_ERROR),
    "reserved bit 2": (frame(b"x", rsv=2), PROTOCOL_ERROR),
    "reserved bit 3": (frame(b"x", rsv=1), PROTOCOL_ERROR),
    "reserved bit on a ping": (frame(b"", PING, rsv=4), PROTOCOL_ERROR),
    **{f"opcode {code:#x}": (frame(b"x", code), PROTOCOL_ERROR) for code in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)},
    "fragmented ping": (frame(b"x", PING, fin=False), PROTOCOL_ERROR),
    "fragmented pong": (frame(b"x", PONG, fin=False), PROTOCOL_ERROR),
    "fragmented close": (frame(b"", CLOSE, fin=False), PROTOCOL_ERROR),
    "ping of 126 bytes": (frame(bytes(126), PING), PROTOCOL_ERROR),
    "pong of 70000 bytes": (frame(bytes(70_000), PONG), PROTOCOL_ERROR),
    "close of 126 bytes": (close_frame(1000, bytes(124)), PROTOCOL_ERROR),
    "ping of a long length": (frame(bytes(5), PING, length_bytes=3), PROTOCOL_ERROR),
    "5 bytes in 2 bytes of length": (frame(bytes(5), length_bytes=3), PROTOCOL_ERROR),
    "125 bytes in 2 bytes of length": (frame(bytes(125), length_bytes=3), PROTOCOL_ERROR),
    "5 bytes in 8 bytes of length": (frame(bytes(5), length_bytes=9), PROTOCOL_ERROR),
    "65535 bytes in 8 bytes of length": (frame(bytes(65535), length_bytes=9), PROTOCOL_ERROR),
    "length of 2**63": (frame(b"", announced=1 << 63), PROTOCOL_ERROR),
    "continuation of nothing": (frame(b"x", CONTINUATION), PROTOCOL_ERROR),
    "empty continuation of nothing": (frame(b"", CONTINUATION), PROTOCOL_ERROR),
    "continuation after the end": (
        frame(b"x", fin=False) + frame(b"y", CONTINUATION) + frame(b"z", CONTINUATION),
        PROTOCOL_ERROR,
    ),
    "binary inside binary": (frame(b"x", fin=False) + frame(b"y"), PROTOCOL_ERROR),
    "text inside binary": (frame(b"x", fin=False) + frame("y", TEXT), PROTOCOL_ERROR),
    "text inside text": (frame("x", TEXT, fin=False) + frame("y", TEXT, fin=False), PROTOCOL_ERROR),
    "not UTF-8": (frame(b"ab\xff", TEXT), BAD_DATA),
    "overlong": (frame(b"\xc0\xaf", TEXT), BAD_DATA),
    "surrogate": (frame(b"\xed\xa0\x80", TEXT), BAD_DATA),
    "beyond Unicode": (frame(b"\xf4\x90\x80\x80", TEXT), BAD_DATA),
    "half a code point": (frame("grün".encode()[:3], TEXT), BAD_DATA),
    "not UTF-8 in the second fragment": (frame("a", TEXT, fin=False) + frame(b"\xff", CONTINUATION), BAD_DATA),
    "a code point that breaks off at the end": (
        frame(b"\xe2\x82", TEXT, fin=False) + frame(b"", CONTINUATION),
        BAD_DATA,
    ),
    "a code point that goes on wrongly": (frame(b"\xe2\x82", TEXT, fin=False) + frame(b"a", CONTINUATION), BAD_DATA),
    "not UTF-8 and never finished": (frame(b"\xff", TEXT, fin=False), BAD_DATA),
    "close of one byte": (frame(b"\x03", CLOSE), PROTOCOL_ERROR),
    **{
        f"close code {code}": (close_frame(code), PROTOCOL_ERROR)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close reason that is not UTF-8": (close_frame(1000, b"\xff"), BAD_DATA),
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", BAD)
async def test_a_publisher_that_breaks_a_rule_is_told_so_and_only_what_came_whole_is_delivered(
    case: str, bytewise: bool
) -> None:
    data, code = BAD[case]
    if bytewise and len(data) > 1000:
        data = data[:40]  # by then it is clear
    async with serving() as scene:
        subscriber, other = await scene.join(), await scene.join(role="publisher")
        bad = await scene.join(role="publisher")
        await bad.send(frame(b"before") + frame("vorher", TEXT) + data, bytewise=bytewise)
        got, reason = await bad.read_close()
        assert (got, bool(reason)) == (code, True)
        await bad.read_end()
        await bad.send(close_frame(code))
        bad.close()
        await scene.wait_departures(**{closing(code).label: 1})
        await other.send(frame(b"after"))
        expected = [b"before", "vorher", b"after"]
        if case == "continuation after the end":
            expected.insert(2, b"xy")
        assert await subscriber.read_messages(len(expected)) == expected


@pytest.mark.parametrize("case", BAD)
async def test_a_subscriber_that_breaks_a_rule_is_told_so_at_a_frame_boundary(case: str) -> None:
    data, code = BAD[case]
    async with serving() as scene:
        bad, good = await scene.join(), await scene.join()
        scene.server.publish("/t", b"first")
        assert await bad.read_message() == b"first"
        await bad.send(data)
        assert (await bad.read_close())[0] == code
        await bad.read_end()
        scene.server.publish("/t", b"second")
        assert await good.read_messages(2) == [b"first", b"second"]


async def send_after_fault(scene: Scene) -> None:
    subscriber, bad = await scene.join(), await scene.join(role="publisher")
    await bad.send(frame(b"x", masked=False) + frame(b"not wanted") + close_frame() + b"\0" * 100_000)
    assert (await bad.read_close())[0] == PROTOCOL_ERROR
    await bad.send(frame(b"not wanted either"))
    await bad.read_end()
    scene.server.publish("/t", b"wanted")
    assert await subscriber.read_message() == b"wanted"


async def test_nothing_after_the_fault_has_a_meaning() -> None:
    async with serving() as scene:
        await send_after_fault(scene)


async def test_a_client_that_ignores_its_close_is_reset_after_close_deadline() -> None:
    async with serving(close_deadline=0.2) as scene:
        await send_after_fault(scene)
        await scene.wait_departures(protocol_error=1)


@pytest.mark.parametrize("size", [100_000, 3_000_000, 12_000_000])
async def test_a_close_for_a_fault_can_be_read_by_a_client_that_goes_on_sending(size: int) -> None:
    async with serving() as scene:
        bad = await scene.join(role="publisher")
        await bad.send(frame(b"x", rsv=1))
        await bad.send(bytes(size))
        assert (await bad.read_close())[0] == PROTOCOL_ERROR
        await bad.read_end()


async def test_a_client_that_sent_much_after_its_fault_departs_when_it_leaves() -> None:
    async with serving() as scene:
        bad = await scene.join(role="publisher")
        await bad.send(frame(b"x", rsv=1))
        assert (await bad.read_close())[0] == PROTOCOL_ERROR
        await bad.send(bytes(12_000_000))
        bad.close()
        now = asyncio.get_running_loop().time
        left = now()
        await scene.wait_departures(protocol_error=1)
        # What it sent is thrown away as fast as it can be read, not a little on every tick.
        assert now() - left < 2.0  # it would be three seconds


async def test_half_a_message_of_one_that_breaks_a_rule_is_delivered_to_nobody() -> None:
    async with serving() as scene:
        subscriber, good = await scene.join(), await scene.join(role="publisher")
        for number, case in enumerate(
            ("unmasked", "reserved bit 1", "opcode 0x3", "fragmented ping", "close code 999")
        ):
            bad = await scene.join(role="publisher")
            await bad.send(frame(b"half", fin=False) + frame(b"more", CONTINUATION, fin=False) + BAD[case][0])
            assert (await bad.read_close())[0] == PROTOCOL_ERROR
            await good.send(frame(b"%d" % number))
            assert await subscriber.read_message() == b"%d" % number
        await wait_until(lambda: scene.server.stats().memory_bytes == 0, "all memory back")

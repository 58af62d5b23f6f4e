"""What one connection may send: frames of a message, control frames and a subscriber's bytes in a second."""

from collections.abc import Callable

import pytest

from fastfan import DUPLEX, PUBLISHER, SUBSCRIBER, Cause, Engine, MisuseError
from tests.support.engine import Rig
from tests.support.rawclient import CONTINUATION, PING, PONG, frame

LANE = 1 << 20


def fragments(count: int) -> bytes:
    return frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * (count - 2) + frame(b"", CONTINUATION)


@pytest.mark.parametrize("role", [PUBLISHER, SUBSCRIBER, DUPLEX])
def test_the_next_frame_after_max_fragments_condemns(make_rig: Callable[..., Rig], role: int) -> None:
    rig = make_rig(lane_bytes=LANE, max_fragments=3)
    peer = rig.connect(rig.engine.topic("/t"), role)
    peer.send(fragments(3) + frame(b"whole") + fragments(3))
    rig.settle()
    assert rig.condemned(peer) is None
    peer.send(frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 2)
    rig.settle()
    assert rig.condemned(peer) is None
    peer.send(frame(b"", CONTINUATION, fin=False))
    assert rig.until_condemned(peer) == Cause.TOO_MANY_FRAGMENTS


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_one_control_frame_too_many_in_a_second_condemns(make_rig: Callable[..., Rig], opcode: int) -> None:
    rig = make_rig(lane_bytes=LANE, max_control_frames=2)
    peer = rig.connect(rig.engine.topic("/t"))
    peer.send(frame(b"", opcode) * 2)
    rig.settle()
    assert rig.condemned(peer) is None
    # Two seconds may begin between these; not three.
    peer.send(frame(b"", opcode) * 3)
    assert rig.until_condemned(peer) == Cause.TOO_MANY_CONTROLS


def test_what_a_subscriber_sends_counts_with_six_bytes_for_each_frame(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=LANE, max_ignored_bytes=100)
    peer = rig.connect(rig.engine.topic("/t"))
    peer.send(frame(bytes(44)) + frame(bytes(22), fin=False) + frame(bytes(16), CONTINUATION))
    rig.settle()
    assert rig.condemned(peer) is None
    peer.send(frame(bytes(95)))
    assert rig.until_condemned(peer) == Cause.SENT_TOO_MUCH


def test_what_publishers_send_does_not_count(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(lane_bytes=LANE, max_ignored_bytes=1)
    for role in (PUBLISHER, DUPLEX):
        peer = rig.connect(rig.engine.topic("/t"), role)
        peer.send(frame(bytes(1000)) + fragments(5))
        rig.settle()
        assert rig.condemned(peer) is None


@pytest.mark.parametrize("name", ["max_fragments", "max_control_frames", "max_ignored_bytes"])
@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_what_cannot_be_counted_is_no_limit(name: str, value: int) -> None:
    with pytest.raises(MisuseError, match=f"{name}={value} is not from 0 to"):
        Engine(**{name: value})

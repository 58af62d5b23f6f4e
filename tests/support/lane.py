"""The express lane of an engine under test: what is sent to it, and what comes of it."""

from fastfan import PUBLISHER, Topic
from tests.support.engine import Peer, Rig
from tests.support.frames import frame

__all__ = ["LANE", "Ends", "send"]

LANE = 1 << 20  # the largest message, where a test does not say


def send(peer: Peer, data: bytes) -> None:
    """In pieces that a socket holds, each of which the engine deals with before the next; none where it is condemned,
    for then nothing more is read, and sending would wait for ever."""
    for at in range(0, len(data), 60_000):
        if peer.rig.condemned(peer) is not None:
            return
        peer.send(data[at : at + 60_000])
        peer.rig.settle()


class Ends:
    """A publisher and a subscriber of a topic."""

    def __init__(self, rig: Rig, topic: Topic) -> None:
        self.rig = rig
        self.topic = topic
        self.subscriber, self.publisher = rig.connect(topic), rig.connect(topic, PUBLISHER)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            send(self.publisher, piece)
            self.subscriber.drain()  # or it would lag

    def expect(self, *payloads: bytes | str, lent: bytes = b"") -> None:
        """What has come into the log so far, and what was lent so far."""
        self.subscriber.expect(*map(frame, payloads))
        assert self.rig.lent(self.publisher) == lent

"""The slow model: a topic is a list of messages, a subscriber a place in it and what it was sent besides."""

from dataclasses import dataclass, field

from tests.support.frames import BINARY, CLOSE, TEXT, frame, parse

__all__ = ["ModelSubscriber", "ModelTopic"]


@dataclass
class ModelTopic:
    """Everything that was ever published. Where subscribers may skip, no two messages are equal."""

    skips: bool = False
    messages: list[tuple[int, bytes]] = field(default_factory=list)
    offsets: dict[tuple[int, bytes], int] = field(default_factory=dict)

    @property
    def next_offset(self) -> int:
        return len(self.messages) + 1

    def publish(self, data: bytes | str) -> int:
        message = (TEXT, data.encode()) if isinstance(data, str) else (BINARY, data)
        assert not self.skips or message not in self.offsets
        self.messages.append(message)
        self.offsets[message] = len(self.messages)
        return len(self.messages)


@dataclass
class ModelSubscriber:
    """What one connection must find in its stream."""

    topic: ModelTopic
    listens: bool
    head: bytes
    offset: int = 0  # of the first message that it gets
    controls: list[tuple[bytes, int]] = field(default_factory=list)  # frame, messages published when it was queued
    close: bytes = b""
    cut: bool = False  # the Close goes out at the next boundary; otherwise behind `last`
    last: int = 0  # offset of the last message before the Close
    condemned: bool = False  # by the engine, which may have been before the last control frames were sent
    aborted: bool = False  # by whoever: the stream may end anywhere
    skipped: list[int] = field(default_factory=list)  # how many messages each gap of its stream left out

    def __post_init__(self) -> None:
        self.offset = self.topic.next_offset

    @property
    def open(self) -> bool:
        return not self.close and not self.aborted

    def send(self, control: bytes) -> None:
        if self.open:
            self.controls.append((control, len(self.topic.messages)))

    def end(self, close: bytes, after_log: bool) -> None:
        if self.open:
            self.close, self.cut, self.last = close, not after_log, len(self.topic.messages)

    def data(self) -> list[tuple[int, bytes]]:
        """The messages it is owed at most, in order."""
        if not self.listens:
            return []
        return self.topic.messages[self.offset - 1 : self.last if self.close else None]

    def size_of_all(self) -> int:
        """Bytes of the whole stream when nothing cuts it short, or is skipped."""
        data = sum(len(frame(payload, opcode)) for opcode, payload in self.data())
        return len(self.head) + data + sum(len(control) for control, _ in self.controls) + len(self.close)

    def check(self, stream: bytes) -> None:
        """That the stream is what this connection had to get."""
        head, frames = stream[: len(self.head)], stream[len(self.head) :]
        assert self.head.startswith(head), "the head is not the first"
        got, rest = parse(frames)
        self._check_order(got)
        if self.aborted:
            return
        assert rest == b"", f"{len(rest)} bytes of a frame that is not finished"
        assert head == self.head
        controls = [_split(control) for control, _ in self.controls]
        got_controls = [item for item in got if item[0] > 2 and item[0] != CLOSE]
        assert got_controls == controls[: len(got_controls) if self.condemned else None]
        data = [item for item in got if item[0] <= 2]
        if not self.cut:
            got_or_skipped = len(data) + sum(self.skipped)
            assert got_or_skipped == len(self.data()), f"{got_or_skipped} of {len(self.data())} messages"
        if self.close:
            assert got[-1] == _split(self.close), f"the last frame is {got[-1][0]}, not the Close"

    def _check_order(self, got: list[tuple[int, bytes]]) -> None:
        """Data in the topic's order, control frames in theirs and ahead of later data, Close last."""
        due, controls = self.data(), iter(self.controls)
        offset = self.offset - 1
        for place, (opcode, payload) in enumerate(got):
            if opcode <= 2:
                offset = self._next_offset(offset, (opcode, payload))
                of_that = due[offset - self.offset] if offset - self.offset < len(due) else None
                assert of_that == (opcode, payload), f"message {offset} is not what was published, or one too many"
            elif opcode == CLOSE:
                assert place == len(got) - 1, "something follows the Close"
                assert _split(self.close) == (opcode, payload)
            else:
                control, published = next(controls, (b"", 0))
                assert control == frame(payload, opcode), "a control frame that was not sent, or out of order"
                assert not self.listens or offset <= max(published, self.offset - 1), "data overtook a control frame"

    def _next_offset(self, offset: int, message: tuple[int, bytes]) -> int:
        """The offset of `message`, which comes behind the one at `offset`: without a gap, unless the topic skips."""
        if not self.topic.skips:
            return offset + 1
        following = self.topic.offsets[message]
        assert following > offset, f"message {following} behind message {offset}"
        if following > offset + 1:
            self.skipped.append(following - offset - 1)
        return following


def _split(whole: bytes) -> tuple[int, bytes]:
    return whole[0] & 0x0F, whole[2:]

"""Types and contract of the compiled module `fastfan._topic`; import the names from `fastfan`."""

from collections.abc import Iterable

from typing_extensions import Buffer, disjoint_base

from fastfan._reader import Reader, ReadyQueue

@disjoint_base
class Topic:
    """One log. Made by Engine.topic(); any thread may use it. Offsets count its messages from 1, within one epoch."""

    @property
    def name(self) -> str: ...
    @property
    def epoch(self) -> int:
        """A random number from 0 to 2**63-1, another for each life of the log: offsets of two epochs do not compare."""
    @property
    def next_offset(self) -> int:
        """The offset that the next message will have."""
    @property
    def subscribers(self) -> int:
        """Cursors: subscribers, those attached and not yet started, readers in this process."""
    @property
    def clients(self) -> int:
        """Connections of any role."""
    @property
    def paced(self) -> bool:
        """Whether publishers of this topic are being held back."""
    @property
    def log_bytes(self) -> int:
        """Frames held for subscribers that do not have them yet."""
    @property
    def policy(self) -> str:
        """What happens to its slow subscribers: disconnect, skip, latest or block; see Engine.topic()."""
    @property
    def skipped_messages(self) -> int:
        """Messages that a subscriber did not get, because it was slow; each counts for each of them."""
    @property
    def skips(self) -> int:
        """Gaps that these make: however many messages one lacks in a row, it is one gap."""

    def publish(self, data: Buffer | str, *, text: bool = False) -> int:
        """Appends one message, binary, or text for a str or with `text`; its offset.

        The data is copied: it may be reused on return. (A buffer that is not in one piece is copied twice, and so is
        one with text that might change.) Raises Overloaded at the memory limit, with nothing appended, and MisuseError
        for text that is not UTF-8.
        """

    def publish_many(self, messages: Iterable[Buffer | str], *, strict: bool = True) -> int:
        """Appends a batch in one step, str as text and the rest as binary; the last one's offset.

        All or nothing: at the memory limit Overloaded is raised with none appended (when the system itself has no
        memory left, some may be). With `strict=False` the limit is
        not looked at, for bytes that are charged to it already (lent chunks).
        """

    def partial(self, *, text: bool = False) -> Partial:
        """A message that will arrive in pieces."""

    def reader(self, *, ready: ReadyQueue | None = None) -> Reader:
        """A cursor of this process, at the log's end: what is published from now on, it gets.

        `ready` is told, by its token, when there is something to read. Raises MisuseError for another engine's.
        """

@disjoint_base
class Partial:
    """A message on its way: charged to the memory limit as it grows, seen by nobody before publish().

    Dropping the object drops the bytes. One thread at a time: another one's call raises MisuseError meanwhile.
    """

    def __len__(self) -> int:
        """Bytes so far."""

    def extend(self, data: Buffer | str) -> None:
        """Adds a copy of the bytes. Raises Overloaded at the memory limit; what came before is kept."""

    def publish(self) -> int:
        """Appends the message to the log; its offset. The object is empty afterwards and may be used again.

        Text must be complete and valid UTF-8; that is the caller's duty.
        """

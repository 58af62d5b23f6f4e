"""Types and contract of the compiled module `fastfan._reader`; import the names from `fastfan`."""

from types import TracebackType
from typing import Self

from typing_extensions import disjoint_base

from fastfan._engine import Engine
from fastfan._topic import Topic

@disjoint_base
class ReadyQueue:
    """The readers that have something to read, or have ended: one descriptor for however many of them.

    For a loop that serves many readers: watch `fileno()`, and read those that `take()` names. It holds neither them nor
    their messages. Any thread may call.
    """

    def __init__(self, engine: Engine) -> None:
        """For readers of this engine's topics. OSError when the system has no descriptors left."""

    def fileno(self) -> int:
        """A descriptor that is readable while there is somebody to take. Its own: never read or close it."""

    def take(self, limit: int = 1024) -> list[int]:
        """The tokens of at most `limit` readers, those first that wait longest. Each comes again when its reader has
        something to read after that; one whose reader was not read to the end comes again after the next read()."""

    def close(self) -> None:
        """Closes the descriptor, which must not be watched any more; for readers that are left nothing changes."""

@disjoint_base
class Reader:
    """A cursor of this process over a topic's log. Made by Topic.reader(), at the log's end.

    The topic's lag rules hold for it as for any subscriber: it holds the log from its place, publishers wait for it,
    and when it is too far behind the topic's policy decides. Under `disconnect` it ends, which read() then says; under
    `skip` it goes on with the oldest message within the bounds; under `latest`, whenever something is published before
    it has read what was there, with the newest; offsets show the gap. It has neither thread nor task. Any thread may
    call; one at a time read().

    Two ways of being told that there is something to read, or that it has ended: `fileno()`, or with `wait()` for
    threads, which cost a descriptor; and a ReadyQueue that it was made with, one descriptor for many.
    """

    @property
    def topic(self) -> Topic: ...
    @property
    def token(self) -> int:
        """What a ReadyQueue names it by; no connection has the same."""
    @property
    def offset(self) -> int:
        """The offset of the next message it gets; where it has ended, of the first that it did not get."""
    @property
    def cause(self) -> int:
        """Why it ended, a Cause: TOO_FAR_BEHIND, MEMORY, CLOSED by close(), ABORTED with the engine; 0 before that."""
    @property
    def paced_for_others(self) -> bool:
        """Whether publishers of the topic are held back, and would be without this reader: what a publisher asks that
        reads the topic by it, for nobody has to wait for himself."""
    @property
    def lag_bytes(self) -> int:
        """Bytes of frames between its place and the log's end; 0 where it has ended."""

    def read(self, limit: int = 1024, *, max_bytes: int = 1048576) -> list[tuple[int, bytes | str]]:
        """The next messages with their offsets: bytes for binary, str for text, copied. Never waits.

        At most `limit`, and frames of at most `max_bytes` together, but one message at least where there is any.

        Raises TooFarBehind when it has ended by a lag rule or at the memory limit, EngineClosed when the engine was
        closed, MisuseError after close(), and while another thread is in it.
        """

    def wait(self, timeout: float | None = None) -> bool:
        """Whether there is something to read, or it has ended, within `timeout` seconds; None: however long it takes.

        Holds no GIL meanwhile. Raises as read() does where it has ended before.
        """

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to read, and when it has ended.

        Made at the first call, and its own: never read or close it, and stop watching it before close().
        """

    def close(self) -> None:
        """Lets go of the log. Who waits in wait() returns. Calling it again does nothing."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

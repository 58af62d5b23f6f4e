"""Types and contract of the compiled module `fastfan._engine`; import the names from `fastfan`."""

import enum
from typing import NamedTuple

from typing_extensions import disjoint_base

from fastfan._core import Core
from fastfan._topic import Topic

PUBLISHER: int
SUBSCRIBER: int
DUPLEX: int

class Cause(enum.IntEnum):
    """Why a connection ended, or why the engine wants it closed."""

    CLOSED = 1  # both Closes were exchanged, or ours was sent and the peer went
    LEFT = 2  # end of stream without a Close
    RESET = 3  # the kernel reported an error
    STALLED = 4  # took no byte for write_timeout while data was owed
    TOO_FAR_BEHIND = 5  # over max_lag_bytes, max_lag_messages or max_lag_age, under the policy disconnect
    MEMORY = 6  # the farthest behind when max_memory_bytes was reached
    NO_PONG = 7  # silent for pong_deadline after a ping
    CLOSE_TIMEOUT = 8  # no answer to our Close within its deadline
    ABORTED = 9  # abort(), or the engine was closed
    # What the lane condemns for, with nothing more wanted from the peer. The departure has another cause.
    BAD_TEXT = 10  # a text message that is not UTF-8
    TOO_BIG = 11  # a message over lane_bytes
    MESSAGE_TIMEOUT = 12  # a message not complete within message_timeout
    NO_ROOM = 13  # no memory left for a message that is arriving
    TOO_MANY_FRAGMENTS = 14  # a message of more than max_fragments frames
    TOO_MANY_CONTROLS = 15  # more than max_control_frames pings and pongs in a second
    SENT_TOO_MUCH = 16  # a subscriber, more than max_ignored_bytes of messages in a second

class EventKind(enum.IntEnum):
    """What an event tells; see Engine.take_events()."""

    LENT = 0
    CONDEMNED = 1
    DEPARTED = 2
    ROOM = 3

class Attached(NamedTuple):
    """What attach() returns: the connection's name, its log's epoch, the offset of the first message it gets."""

    token: int
    epoch: int
    offset: int

@disjoint_base
class Engine(Core):
    """The fan-out engine: topics with one log each, connections with a cursor each, and the loop that serves them.

    Native threads of its own serve the connections, without the GIL: nothing that Python does holds them up. They never
    call back: watch `events_fileno()` for reading, and `take_events()`. With `io_threads=0` the host's loop drives it:
    watch `work_fileno()` too, and call `turn()` when it is readable.

    Every method may be called from any thread, `turn()` from one at a time; none waits for a socket. After `close()`
    all but `take_events`, `stats` and `close` raise EngineClosed; so they do in a child process that was forked while
    the engine was open: it is its parent's.
    """

    def __init__(
        self,
        *,
        io_threads: int = 1,
        max_memory_bytes: int | None = None,
        write_timeout: float = 10.0,
        close_deadline: float = 5.0,
        notsent_bytes: int = 65536,
        lane_bytes: int = 16777216,
        message_timeout: float = 30.0,
        max_fragments: int = 131072,
        max_control_frames: int = 10000,
        max_ignored_bytes: int = 1048576,
    ) -> None:
        """An engine without connections.

        io_threads        from 0 to 16. Connections are spread over them; a topic has one order whichever threads its
                          publishers are on
        max_memory_bytes  of logs, partial messages and lent chunks together; at least 1 MiB. None: a quarter of the
                          machine's or the cgroup's memory
        write_timeout     seconds without a byte taken, while data is owed, after which a connection is STALLED
        close_deadline    seconds for the peer's half of a close, and for taking our Close
        notsent_bytes     bytes the kernel may hold unsent for one socket (TCP_NOTSENT_LOWAT), at most 16384 where the
                          policy is `skip` or `latest`; 0 leaves it unlimited
        lane_bytes        the largest message of a client; one that is larger condemns it. Messages take the express
                          lane: publishers' go into the log, subscribers' are counted and thrown away, pings are
                          answered, and only what ends a connection is lent: a Close, or what is no well-formed frame.
                          0: no lane, everything is lent
        message_timeout   seconds that a publisher's message may take from its first byte to its last, in the lane
        max_fragments     frames of one message, in the lane; the next one condemns its client. Of this and the
                          following 0 is: no limit
        max_control_frames  pings and pongs of one client in a second, in the lane
        max_ignored_bytes payload of a subscriber's messages in a second, and 6 bytes for each of their frames, in the
                          lane

        Raises MisuseError for values out of range, OSError when the system has no descriptors or no threads left.
        """

    # --- topics and connections ---

    def topic(
        self,
        name: str,
        *,
        policy: str = "disconnect",
        max_lag_bytes: int = ...,
        max_lag_messages: int | None = None,
        max_lag_age: float | None = None,
        pace_lag_bytes: int = ...,
    ) -> Topic:
        """The topic of that name, made when there is none; the policy and the bounds count only then.

        What happens to a subscriber whose socket is full and which is farther behind than `max_lag_bytes` (64 MiB),
        `max_lag_messages` or `max_lag_age` (seconds, to within an eighth of it):

        disconnect  it is condemned
        skip        it goes on with the oldest message within these bounds
        latest      needs no bounds: when its socket takes data again it goes on with the newest message
        block       publishers wait, as long as it takes a byte a second

        Who skips gets the frame that was begun and then the other one; the newest message is never skipped. Publishers
        wait, except under `latest`, also while half of the moving subscribers are farther behind than `pace_lag_bytes`
        (4 MiB). Raises MisuseError for another policy.
        """

    def find_topic(self, name: str) -> Topic | None:
        """The topic of that name, if there is one. It is kept as long as after any other mention."""

    def attach(self, topic: Topic, *, role: int) -> Attached:
        """Places a connection on the topic: token, epoch, and the offset of the first message it will get.

        Everything published from now on is kept for it; `start()` must follow, or `abort()`. `role` is PUBLISHER,
        SUBSCRIBER or DUPLEX. Raises Overloaded beyond 1,048,576 connections, MisuseError for another engine's topic.
        """

    def start(self, token: int, fd: int, head: bytes = b"", leftover: bytes = b"") -> None:
        """Hands over a connected stream socket; the engine owns and closes it from here on.

        The caller must have stopped watching `fd` and must not touch it again. `head` is written before any data (the
        101); `leftover`, bytes read already, comes back as the first LENT event.
        """

    def send(self, token: int, frames: bytes) -> None:
        """Queues whole control frames, sent at the next frame boundary and ahead of further data.

        Ignored once the connection is closing or gone, and while a MiB of control frames waits. While more than 4 KiB
        wait, it is not read.
        """

    def resume(self, token: int) -> None:
        """Gives a lent connection back: what it sent has been dealt with, and it may be read again."""

    def end(
        self,
        token: int,
        close_frame: bytes = b"",
        *,
        discard: bool = False,
        after_log: bool = False,
        deadline: float | None = None,
    ) -> None:
        """The one way to close: sends the Close, then waits for the peer.

        The Close goes out behind as much of what was published until now as the socket takes at once, after the frame
        the subscriber is then in the middle of; or with `after_log` after all of it. Nothing follows the Close. Without
        `discard` the connection goes on being lent, so that the peer's Close can be seen; with it (the peer's Close has
        come, or it broke the protocol), and always for a connection that the lane condemned, the stream is finished
        behind the Close and what still arrives is thrown away. What is not over within `deadline` seconds
        (close_deadline) is reset.
        """

    def abort(self, token: int) -> None:
        """Resets the connection now; also undoes an `attach` that will not be started."""

    def beat(self, ping_interval: float, pong_deadline: float, longest_step: float) -> None:
        """Pings every connection whose interval is over, condemns those that did not answer in time.

        To be called regularly, a few times in each of both durations. The time since the last beat counts, but at most
        `longest_step` seconds of it, so that a pause of the process is held against nobody.
        """

    def want_room(self) -> None:
        """Asks for a ROOM event once `roomy` is true, and from time to time while it stays asked for."""

    # --- driving it ---

    def turn(self, budget: float = 0.002) -> None:
        """Does what there is to do for about `budget` seconds, without the GIL.

        With work left over, `work_fileno()` stays readable. Raises MisuseError while another thread is in it, and where
        the engine has I/O threads.
        """

    def take_events(self, limit: int = 1024) -> list[tuple[int, int, int, int, bytes]]:
        """The oldest events, at most `limit`: (kind, token, detail, extra, data).

        LENT       data: bytes the connection sent; it is not read again before `resume(token)`
        CONDEMNED  detail: the Cause; `end(token, …)` is wanted. It no longer holds anything of the log, or it is not
                   read any more (Causes of the lane)
        DEPARTED   detail: the Cause, extra: 1 when our Close was sent whole. The last event of its token
        ROOM       token 0; see `want_room`
        """

    def work_fileno(self) -> int:
        """A descriptor that is readable while `turn()` has work. The engine's own; never read or close it.

        Always the same one. Where the system has no such thing (no epoll), the first call begins a thread that watches
        the sockets for it; OSError when there is no thread to be had.
        Raises MisuseError where the engine has I/O threads.
        """

    def events_fileno(self) -> int:
        """A descriptor that is readable while events wait. The engine's own; never read or close it."""

    # --- upkeep ---

    def sweep_topics(self, linger: float, most: int) -> int:
        """Forgets topics without clients for `linger` seconds, and the longest idle beyond `most`; how many it forgot.

        A forgotten topic that comes back begins a new epoch at offset
        1, unless the program still holds the Topic.
        """

    def topics_kept(self) -> list[Topic]:
        """Topics with clients, and those that linger."""

    def wait_at_rest(self, timeout: float) -> bool:
        """Waits until all that had happened on sockets, or was asked for, has been dealt with: for tests.

        False when that took longer than `timeout` seconds. With `io_threads=0`, whether no turn is needed.
        """

    @property
    def roomy(self) -> bool:
        """Whether less than four fifths of max_memory_bytes are in use; publishers are held back while it is not."""

    def stats(self) -> dict[str, int]:
        """Counts since the engine was made; connections, memory_bytes and spare_bytes are those of now."""

    def close(self) -> None:
        """Ends the threads, resets every connection and gives their memory back; DEPARTED events can still be taken.

        Raises MisuseError while another thread is in `turn()`. Calling it again does nothing.
        """

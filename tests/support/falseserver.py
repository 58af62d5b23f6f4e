"""A server that does what a script says and nothing else: it upgrades properly, and then it may lie, stall or vanish.

A script is a function that runs in a thread of its own beside the load under test. It accepts callers one by one, and
every wait in it has a bound.

    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        subscriber.send(*publisher.read_messages(3))

    with false_server(script) as port:
        report = carry_out(port, messages=3)
"""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastfan.load import Load, Plan, Report
from tests.support.rawclient import ACCEPT, BINARY, CLOSE, PATIENCE, PONG, TEXT, Frame, frame, masked_payload

__all__ = ["UPGRADED", "Caller", "Door", "carry_out", "false_server", "server_frame", "small_plan"]

_numbers = itertools.count(1)

UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n\r\n"
)


def server_frame(payload: bytes | str, opcode: int | None = None, **odd: Any) -> bytes:
    """A frame as servers send it; `odd` is what rawclient's frame() can do wrong."""
    kind = TEXT if isinstance(payload, str) else BINARY
    return frame(payload, kind if opcode is None else opcode, **({"masked": False} | odd))


class Message(NamedTuple):
    """What a publisher sent, and the frame in which a server passes it on."""

    opcode: int
    payload: bytes

    @property
    def frame(self) -> bytes:
        return server_frame(self.payload, self.opcode)


class Caller:
    """One connection of the load's, and the head of its request."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        self.head = b""

    @property
    def is_publisher(self) -> bool:
        return b"\r\npubsub: publisher\r\n" in self.head

    @property
    def target(self) -> str:
        return self.head.split(b" ")[1].decode()

    # --- sending ---

    def send(self, *parts: bytes | Message) -> None:
        self.sock.sendall(b"".join(part.frame if isinstance(part, Message) else part for part in parts))

    def send_in_pieces(self, data: bytes, size: int = 1) -> None:
        """Each piece a packet of its own. What the kernel puts together again is the reader's luck."""
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])

    def send_close(self, code: int, reason: bytes = b"") -> None:
        self.send(server_frame(struct.pack(">H", code) + reason, CLOSE))

    def finish(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Gone without a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    # --- reading ---

    def read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            self._read()
        self.head = self._take(self._buffer.index(b"\r\n\r\n") + 4)
        return self.head

    def wait_readable(self) -> None:
        """Something has come, and stays where it is."""
        self.sock.recv(1, socket.MSG_PEEK)

    def read_frame(self) -> Frame:
        """The next frame, which must be masked and whole (RFC 6455 section 5.1)."""
        first, second = self._take(2)
        assert first & 0xF0 == 0x80, f"a frame that begins with {first:#x}"
        assert second & 0x80, "a client's frame is not masked"
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        mask = self._take(4)
        return Frame(first & 0xF, masked_payload(self._take(size), mask))

    def read_message(self) -> Message:
        """The next frame, which must be data."""
        got = self.read_frame()
        assert got.opcode in (TEXT, BINARY), got
        return Message(got.opcode, got.payload)

    def read_messages(self, count: int) -> list[Message]:
        return [self.read_message() for _ in range(count)]

    def read_pong(self) -> bytes:
        """The payload of the next frame, which must be a pong."""
        got = self.read_frame()
        assert got.opcode == PONG, got
        return got.payload

    def read_to_end(self) -> bytes:
        """Whatever comes until the load hangs up."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._read()
        return bytes(self._buffer)

    def _read(self) -> None:
        data = self.sock.recv(1 << 18)
        if not data:
            raise EOFError(f"the load hung up, after {bytes(self._buffer[:100])!r}")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._read()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


class Door:
    """Where the load comes in."""

    def __init__(self, host: str = "127.0.0.1", receive_buffer: int | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.port: int = self._listener.getsockname()[1]
        self._callers: list[Caller] = []

    def accept(self, patience: float = PATIENCE) -> Caller:
        """The next caller, its request read and not answered."""
        self._listener.settimeout(patience)
        sock, _ = self._listener.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        caller = Caller(sock)
        self._callers.append(caller)
        caller.read_head()
        return caller

    def welcome(self, count: int) -> list[Caller]:
        """So many callers, upgraded; subscribers first, as they came."""
        callers = []
        for _ in range(count):
            caller = self.accept()
            caller.send(UPGRADED)
            callers.append(caller)
        return sorted(callers, key=lambda caller: caller.is_publisher)

    def wake(self) -> None:
        """Whoever waits in a script gets an error or the end of a stream."""
        for sock in (self._listener, *(caller.sock for caller in self._callers)):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for caller in self._callers:
            caller.close()


@contextlib.contextmanager
def false_server(
    script: Callable[[Door], None], *, host: str = "127.0.0.1", receive_buffer: int | None = None
) -> Iterator[int]:
    """The port of a server that follows `script`. What the script raised by itself is raised at the end."""
    door = Door(host, receive_buffer)
    raised: list[BaseException] = []

    def follow() -> None:
        try:
            script(door)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=follow, name="false server")
    thread.start()
    try:
        yield door.port
        thread.join(PATIENCE)
        stuck = thread.is_alive()
    except BaseException:
        stuck, raised = False, []
        raise
    finally:
        door.wake()
        thread.join()
        door.close()
    assert not stuck, "the script did not come to its end"
    if raised:
        raise raised[0]


def small_plan(port: int, **plan: Any) -> Plan:
    """One subscriber, one publisher, as much patience as a busy machine needs, and a topic of its own: what nobody read
    of a load before it may be on its way still."""
    usual: dict[str, Any] = {"subscribers": 1, "publishers": 1, "patience_seconds": PATIENCE}
    usual["path"] = f"/load/{next(_numbers)}"
    counted = {} if "seconds" in plan else {"messages": 10}
    return Plan(port=port, **(usual | counted | plan))


def carry_out(port: int, **plan: Any) -> Report:
    """All steps of a load, and what came of it."""
    with Load(small_plan(port, **plan)) as load:
        load.connect()
        load.publish()
        return load.report()

"""What a client has to send: one queue, one writer, whatever the number of tasks that publish.

    publish() ──► frames ──┐
                           ├──► join, write, drain ──► the stream
    a ping came ──► pong ──┘      (once per turn of the loop)

A burst of small messages goes out in a few writes, because a turn's frames go together. Who puts frames waits for room
first, so the queue holds `ROOM_BYTES` and one message per task. Of pongs only the latest is kept: it may stand for
those before it (RFC 6455 section 5.5.3), and a peer that pings without reading must not fill our memory.
"""

import asyncio

__all__ = ["ROOM_BYTES", "Outbox"]

# Enough for a writer that wakes once per turn of the loop to keep a fast socket busy.
ROOM_BYTES = 256 * 1024


class Outbox:
    """Frames in the order they were put. `write_to` is run by one task; the rest is called from any task of its loop.

    `written_bytes` counts what was handed to the stream.
    """

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._pong = b""
        self._ended = False
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._waiting_bytes = 0
        self.written_bytes = 0

    def put(self, frame: bytes) -> None:
        """Queues a whole frame; an empty one is none."""
        if frame and not self._ended:
            self._frames.append(frame)
            self._waiting_bytes += len(frame)
            if self._waiting_bytes >= ROOM_BYTES:
                self._room.clear()
            self._work.set()

    def put_pong(self, frame: bytes) -> None:
        """Queues the answer to the latest ping ahead of the messages that still wait."""
        self._pong = frame
        self._work.set()

    async def wait_room(self) -> None:
        """Returns when there is room, and when there never will be: look at the client's state afterwards."""
        await self._room.wait()

    def end(self) -> None:
        """Nothing more will be put: `write_to` returns when all is written."""
        self._ended = True
        self._room.set()
        self._work.set()

    async def write_to(self, writer: asyncio.StreamWriter) -> None:
        """Writes what is put until `end`. When the stream fails, the rest is dropped: its reader tells of the loss."""
        try:
            while not self._ended or self._frames or self._pong:
                await self._work.wait()
                self._work.clear()
                await self._write_all(writer)
        except OSError:
            writer.transport.abort()
            self._frames.clear()
            self.end()

    async def _write_all(self, writer: asyncio.StreamWriter) -> None:
        frames, self._frames = self._frames, []
        room = sum(map(len, frames))
        if self._pong:
            frames.insert(0, self._pong)
            self.written_bytes += len(self._pong)
            self._pong = b""
        self.written_bytes += room
        if frames:
            # Not writelines: in 3.12.0 to 3.12.8 and 3.13.0 to 3.13.1 nothing holds back who uses it (CVE-2024-12254).
            writer.write(frames[0] if len(frames) == 1 else b"".join(frames))
            await writer.drain()
        self._waiting_bytes -= room
        if self._waiting_bytes < ROOM_BYTES:
            self._room.set()

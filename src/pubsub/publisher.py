"""The publishing client.

async with Publisher("ws://127.0.0.1:8080/prices") as publisher:
    await publisher.publish(b"42")
    await publisher.flush()
"""

from __future__ import annotations

from typing import ClassVar

from pubsub.client import Client
from pubsub.connection import Buffer

__all__ = ["Publisher"]


class Publisher(Client):
    """Publishes to the topic that its URL names.

    `url` is a URL, or a path on the server of PUBSUB_ADDR, or None for PUBSUB_ADDR itself. `name` becomes part of the
    id the server gives. `headers` go with the upgrade. `connect` makes the streams: host, port, ssl, server_hostname ->
    reader, writer. Durations are seconds: `open_timeout` for connecting and upgrading; `close_deadline` and
    `pong_deadline` for how long a server may take nothing and answer nothing, in `close` and in `flush`.

    It answers the server's pings by itself, so it lives while its event loop runs. Messages that the server sends are
    ignored.
    """

    _role: ClassVar[str] = "publisher"

    async def publish(self, data: Buffer | str) -> None:
        """Sends one message: text for str, binary for anything with bytes. `data` may be reused on return.

        Returns when the message is on its way, and waits while 256 KiB are still to be sent: so a server that does not
        keep up is not run over. Several tasks may publish; each one's messages keep their order. Raises
        ConnectionClosed, or what else is in `error`, when the connection has ended: what was not flushed before may be
        lost then. A publish that is cancelled has sent nothing.
        """
        await self._wait_room()
        self._outbox.put(self._connection.message(data))

    async def flush(self) -> None:
        """Returns when everything published so far is in the server's log.

        Raises NoPong when the server takes and answers nothing for `pong_deadline`: the connection is kept, and another
        flush goes on waiting. Raises what `publish` raises when the connection ends first.
        """
        await self._wait_pong()

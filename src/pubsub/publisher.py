"""The publishing client.

    async with Publisher("ws://127.0.0.1:8080/prices") as publisher:
        await publisher.publish(b"42")
        await publisher.flush()
"""

from __future__ import annotations

from typing import ClassVar

from pubsub.client import Client, State
from pubsub.connection import Buffer
from pubsub.errors import ConnectionClosed, PubSubError
from pubsub.gap import Gap
from pubsub.link import Link

__all__ = ["Publisher"]


class Publisher(Client):
    """Publishes to the topic that its URL names.

    `url` is a URL, or a path on the server of PUBSUB_ADDR, or None for PUBSUB_ADDR itself. `name` becomes part of the
    id the server gives. `headers` go with the upgrade. `connect` makes the streams: host, port, ssl, server_hostname ->
    reader, writer. Durations are seconds: `open_timeout` for connecting and upgrading; `close_deadline` and
    `pong_deadline` for how long a server may take nothing and answer nothing, in `close` and in `flush`.

    With `reconnect` (True, or a Reconnect with limits of its own) it comes back when its connection is lost, or closed
    with a code that says so. `on_away` is called with the error at once; `on_gap` with a Gap when it is back, ahead of
    any publish that waited. Its `unconfirmed` messages may be lost: nothing is sent again by itself, which could make
    two of one. Without `on_gap` a line is logged. What the callbacks raise goes to the loop's exception handler.

    It answers the server's pings by itself, so it lives while its event loop runs. Messages that the server sends are
    ignored.
    """

    _role: ClassVar[str] = "publisher"
    # Why a connection was lost with messages unconfirmed, until a flush has told of it.
    _unreported: PubSubError | None = None

    @property
    def unconfirmed(self) -> int:
        """How many messages were published on this connection and are not known to be in the server's log."""
        return self._link.unconfirmed if self._life is not None else 0

    async def publish(self, data: Buffer | str) -> None:
        """Sends one message: text for str, binary for anything with bytes. `data` may be reused on return.

        Returns when the message is on its way, and waits while 256 KiB are still to be sent: so a server that does not
        keep up is not run over. It waits while the publisher is away, too. Several tasks may publish; each one's
        messages keep their order. Raises ConnectionClosed, or what else is in `error`, when it has ended: what was not
        flushed before may be lost then. A publish that is cancelled has sent nothing.
        """
        link = await self._wait_room()
        link.put_message(data)

    async def flush(self) -> None:
        """Returns when everything published so far is in the server's log.

        Raises NoPong when the server takes and answers nothing for `pong_deadline`: the connection is kept, and another
        flush goes on waiting. Raises what `publish` raises when the connection ends first. A publisher that comes back
        raises the ConnectionClosed of the lost connection then, and so does the first flush after a loss that left
        messages unconfirmed; the next one counts from there.
        """
        self._report_loss()
        link = await self._wait_room()
        self._report_loss()
        try:
            await link.wait_pong(self._pong_deadline)
        except ConnectionClosed as error:
            if error is self._unreported:
                self._unreported = None
            raise

    def _report_loss(self) -> None:
        error, self._unreported = self._unreported, None
        # Once it has ended for good, why is what counts.
        if error is not None and self._state in (State.OPEN, State.AWAY):
            raise error

    def _move_to(self, state: State) -> None:
        super()._move_to(state)
        if state is State.AWAY and self._link.unconfirmed:
            self._unreported = self._unreported or self._link.error

    def _on_back(self, before: Link, seconds: float) -> None:
        assert before.error is not None
        self._teller.on_gap(Gap(before.error, seconds, unconfirmed=before.unconfirmed))

"""The WebSocket door: from an accepted socket to a connection of the engine's.

    accept ──► head complete? ──► admit ──► attach: topic and cursor ──► 101 ──► start: the engine has the descriptor
                    │               │
                    └── refusal ◄───┘   one line, FIN, and read until the client has gone

Plain non-blocking sockets and add_reader: no task, transport or timer of its own for any of them. One sweep from the
server's beat ends those that take too long. The 101 is written by the engine, ahead of any data, so the offset it names
is exactly the first message this client gets.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import TYPE_CHECKING

from fastfan import Overloaded
from fastfan._upgrade import scan_upgrade
from pubsub.connection import Connection
from pubsub.gate import address_of
from pubsub.handshake import Admission, Refusal, Request, admit, try_later
from pubsub.listening import BACKLOG
from pubsub.session import Session, Sessions, new_uid
from pubsub.upgrade import ServerUpgrade

if TYPE_CHECKING:
    from fastfan import Topic
    from pubsub.broker import Broker

__all__ = ["Door"]

_log = logging.getLogger("pubsub")

_ACCEPTS_AT_ONCE = 64
_RECEIVE_BYTES = 65536
# Out of descriptors or memory, accepting pauses so long; the clients wait in the backlog.
_PAUSE = 0.2
# Who is one too many has its answer, and keeps a descriptor until it has gone; at most so many do.
_TURNED_AWAY_AT_ONCE = 256
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LOOK_EVERY = 0.01
_CLOSING = try_later("the server is closing; connect again in a while")


class _Arrival:
    """A socket that is not the engine's yet. `upgrade` is None once it got its answer and only its end is awaited."""

    __slots__ = ("address", "counted", "fileno", "sock", "upgrade", "waited")

    def __init__(self, sock: socket.socket, address: str | None, upgrade: ServerUpgrade) -> None:
        self.sock = sock
        self.address = address  # what the gate goes by
        self.counted = True  # there
        self.fileno = sock.fileno()
        self.upgrade: ServerUpgrade | None = upgrade
        self.waited = 0.0  # seconds, for the request or for its end


class Door:
    """Accepts on listening sockets, which it owns, until close()."""

    def __init__(
        self, listeners: list[socket.socket], broker: Broker, sessions: Sessions, *, inherited: bool = False
    ) -> None:
        """`inherited`: the listening sockets are somebody else's too, who goes on with those who wait in them."""
        self._listeners = listeners
        self._inherited = inherited
        self._closing = False
        self._broker = broker
        self._engine = broker.engine
        self._options = broker.options
        self._scan = scan_upgrade if broker.options.lane else None
        self._sessions = sessions
        self._gate = broker.gate
        self._turned_away = 0
        self._loop = asyncio.get_running_loop()
        self._arrivals: dict[int, _Arrival] = {}
        self._resume: asyncio.TimerHandle | None = None
        self._listen()

    # --- accepting ---

    def _listen(self) -> None:
        self._resume = None
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept_from, listener)

    def _accept_from(self, listener: socket.socket) -> bool:
        """Accepts some; whether there may be more."""
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return False
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(error)
                return False
            sock.setblocking(False)
            self._welcome(sock, address_of(peer[0]) if self._gate.watches_addresses and peer else None)
        return True

    def _welcome(self, sock: socket.socket, address: str | None) -> None:
        upgrade = ServerUpgrade(max_head_bytes=self._options.max_head_bytes, scan=self._scan)
        arrival = _Arrival(sock, address, upgrade)
        full = self._gate.enter(address)
        if full is not None and not self._listeners:
            # It was in the queue. A check must not hear that the server is full, and well.
            full = _CLOSING
        try:
            # Most clients have sent their request by now: then no reader is needed at all.
            if self._receive(arrival) if full is None else self._turn_away(arrival, full):
                self._arrivals[arrival.fileno] = arrival
                self._loop.add_reader(arrival.fileno, self._on_readable, arrival)
        except BaseException:
            # A fault of ours, such as a lack of memory: it costs the connection.
            self._end(arrival)
            raise

    def _turn_away(self, arrival: _Arrival, full: Refusal) -> bool:
        """Refuses who is one too many, before it has said anything; whether its end is awaited."""
        arrival.counted = False
        self._turned_away += 1
        if self._refuse(arrival, full):
            if self._turned_away <= _TURNED_AWAY_AT_ONCE:
                return True
            # So many would need descriptors that others have a right to. Some will find their answer cut off.
            return self._end(arrival)
        return False

    def _pause(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED:
            _log.warning("accept: %s", error)
            return
        if not self._listeners:
            return  # these were the last
        _log.warning("accepting pauses for %g s: %s; raise the limit of open files", _PAUSE, error.strerror)
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
        self._resume = self._loop.call_later(_PAUSE, self._listen)

    # --- the request ---

    def _on_readable(self, arrival: _Arrival) -> None:
        self._receive(arrival)

    def _end(self, arrival: _Arrival) -> bool:
        self._forget(arrival)
        arrival.sock.close()
        if arrival.counted:
            self._gate.leave(arrival.address)
        else:
            self._turned_away -= 1
        return False

    def _forget(self, arrival: _Arrival) -> None:
        # The number may belong to a newer socket by now; that one's entry is not ours to take.
        if self._arrivals.get(arrival.fileno) is arrival:
            del self._arrivals[arrival.fileno]
            self._loop.remove_reader(arrival.fileno)

    def _receive(self, arrival: _Arrival) -> bool:
        """Reads what there is; whether more is awaited. When not, the socket is closed or the engine's."""
        try:
            data = arrival.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            return self._end(arrival)
        if arrival.upgrade is None:
            return True
        outcome = arrival.upgrade.receive(data)
        if outcome is None:
            return True
        if isinstance(outcome, Request):
            return self._judge(arrival, arrival.upgrade, outcome)
        return self._refuse(arrival, outcome)

    def _judge(self, arrival: _Arrival, upgrade: ServerUpgrade, request: Request) -> bool:
        outcome = admit(request, self._options)
        if isinstance(outcome, Admission) and self._closing:
            outcome = _CLOSING
        if isinstance(outcome, Refusal):
            return self._refuse(arrival, outcome)
        if not outcome.role:
            # A health check: a whole handshake, and nothing else.
            head = upgrade.accept(subprotocol=outcome.subprotocol)
            return self._answer(arrival, head + Connection(client=False).close())
        topic = self._broker.topic_for(outcome.topic, arrival.address)
        if isinstance(topic, Refusal):
            return self._refuse(arrival, topic)
        try:
            self._hand_over(arrival, upgrade, outcome, topic)
        except Overloaded as error:
            return self._refuse(arrival, try_later(str(error)))
        return False

    def _hand_over(self, arrival: _Arrival, upgrade: ServerUpgrade, admission: Admission, topic: Topic) -> None:
        token, _epoch, offset = self._engine.attach(topic, role=admission.role.value)
        session = Session(token, topic, admission.role, admission.name, new_uid(), arrival.address)
        try:
            head = upgrade.accept(subprotocol=admission.subprotocol, headers=session.headers(offset))
        except BaseException:
            # Else its cursor would hold the log for ever.
            self._engine.abort(token)
            raise
        # The engine polls this descriptor from now on, so the loop must have let go of it.
        self._forget(arrival)
        self._engine.start(token, arrival.fileno, head, upgrade.leftover)
        arrival.sock.detach()
        self._sessions.add(session)

    # --- refusals ---

    def _refuse(self, arrival: _Arrival, refusal: Refusal) -> bool:
        self._broker.census.refused(refusal)
        return self._answer(arrival, refusal.to_bytes())

    def _answer(self, arrival: _Arrival, answer: bytes) -> bool:
        """The last we say. Closing while the client still sends would reset the connection, and the answer with it."""
        arrival.upgrade, arrival.waited = None, 0.0
        try:
            # A few hundred bytes into a new socket's empty buffer: they fit, or there is nobody.
            arrival.sock.send(answer)
            arrival.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return self._end(arrival)
        return True

    # --- upkeep ---

    def age(self, step: float) -> None:
        """Advances everybody's clock by `step` seconds, and ends those whose request did not arrive within
        handshake_deadline, or who did not leave after an answer."""
        for arrival in list(self._arrivals.values()):
            limit = self._options.handshake_deadline if arrival.upgrade else self._options.close_deadline
            arrival.waited += step
            if arrival.waited < limit:
                continue
            if arrival.upgrade is None or not self._refuse(arrival, _too_slow(limit)):
                self._end(arrival)

    def stop_listening(self) -> None:
        """No new connections. Who is in the middle of a request may finish it; so may those who wait to be accepted,
        whom the kernel would reset, unless the listening sockets live on elsewhere."""
        if self._resume is not None:
            self._resume.cancel()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            self._loop.remove_reader(listener.fileno())
            # No more than may have waited: who floods it must not keep it from closing.
            for _ in range(0 if self._inherited else BACKLOG // _ACCEPTS_AT_ONCE):
                if not self._accept_from(listener):
                    break
            listener.close()

    async def wait_arrived(self, patience: float) -> None:
        """Returns when no request is under way any more, after `patience` seconds at most."""
        until = self._loop.time() + patience
        # No event: it is waited for once in a server's life.
        while any(each.upgrade for each in self._arrivals.values()) and self._loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY)

    def refuse_all(self) -> None:
        """Whose request is complete from now on is refused."""
        self._closing = True

    def abandon(self) -> None:
        """Their loop has ended: closes the sockets."""
        for listener in self._listeners:
            listener.close()
        for arrival in self._arrivals.values():
            arrival.sock.close()
            if arrival.counted:
                self._gate.leave(arrival.address)
        self._listeners = []
        self._arrivals.clear()

    def close(self) -> None:
        self.stop_listening()
        for arrival in list(self._arrivals.values()):
            self._end(arrival)


def _too_slow(limit: float) -> Refusal:
    fault = f"request not complete within handshake_deadline={limit:g} s; send it faster"
    return Refusal(408, fault, limit="handshake_deadline")

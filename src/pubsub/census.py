"""Who is there, who came and who left, and what they brought: what Stats counts and events tell. Any thread."""

import threading
from collections import Counter
from typing import TYPE_CHECKING

from pubsub.events import Event, EventType
from pubsub.eventstream import EventStreams
from pubsub.handshake import Refusal, Role

if TYPE_CHECKING:
    from pubsub.session import Session

__all__ = ["Census"]

_JOINED = ((Role.PUBLISHER, EventType.PUBLISHER_JOINED), (Role.SUBSCRIBER, EventType.SUBSCRIBER_JOINED))
_LEFT = ((Role.PUBLISHER, EventType.PUBLISHER_LEFT), (Role.SUBSCRIBER, EventType.SUBSCRIBER_LEFT))


class Census:
    """Counts of one broker. What the engine's lane takes it counts itself."""

    def __init__(self, streams: EventStreams) -> None:
        self._streams = streams
        self._lock = threading.Lock()
        self.publishers = 0  # now; a duplex client is in both
        self.subscribers = 0
        self.messages = 0
        self.message_bytes = 0
        self.ignored_messages = 0
        self.departures: Counter[str] = Counter()
        self.refusals: Counter[int] = Counter()
        self.limited: Counter[str] = Counter()

    def joined(self, session: "Session") -> None:
        with self._lock:
            self.publishers += Role.PUBLISHER in session.role
            self.subscribers += Role.SUBSCRIBER in session.role
        self._tell(session, _JOINED)

    def left(self, session: "Session", cause: str) -> None:
        with self._lock:
            self.departures[cause] += 1
            self.publishers -= Role.PUBLISHER in session.role
            self.subscribers -= Role.SUBSCRIBER in session.role
        self._tell(session, _LEFT)

    def refused(self, refusal: Refusal) -> None:
        with self._lock:
            self.refusals[refusal.status] += 1
            if refusal.limit:
                self.limited[refusal.limit] += 1
        if refusal.event is not None and self._streams.wanted:
            self._streams.put(Event(refusal.event, "", refusal.topic))

    def met(self, limit: str) -> None:
        """A client is closed for the option of that name."""
        with self._lock:
            self.limited[limit] += 1

    def published(self, messages: int, payload_bytes: int) -> None:
        with self._lock:
            self.messages += messages
            self.message_bytes += payload_bytes

    def ignored(self) -> None:
        with self._lock:
            self.ignored_messages += 1

    def _tell(self, session: "Session", which: tuple[tuple[Role, EventType], ...]) -> None:
        if self._streams.wanted:
            for role, event_type in which:
                if role in session.role:
                    self._streams.put(Event(event_type, session.client_id, session.topic.name))

"""What a server tells about its clients: who came, who left, whose upgrade failed.

Names, numbers and JSON keys are those of the Go program websocket-pubsub, so its consumers can read these too.
"""

import enum
import json
from dataclasses import dataclass

__all__ = ["Event", "EventType"]


class EventType(enum.IntEnum):
    """What happened. `label` is the Go program's name for it."""

    PUBLISHER_LEFT = 1
    PUBLISHER_JOINED = 2
    SUBSCRIBER_LEFT = 3
    SUBSCRIBER_JOINED = 4
    WEBSOCKET_UPGRADE_FAILED = 5
    BAD_HTTP_HEADERS = 6

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    EventType.PUBLISHER_LEFT: "PublisherLeft",
    EventType.PUBLISHER_JOINED: "PublisherJoined",
    EventType.SUBSCRIBER_LEFT: "SubscriberLeft",
    EventType.SUBSCRIBER_JOINED: "SubscriberJoined",
    EventType.WEBSOCKET_UPGRADE_FAILED: "WebsocketUpgradeFailed",
    EventType.BAD_HTTP_HEADERS: "BadHTTPHeaders",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `client_id` is empty when the client got none, because its upgrade failed."""

    type: EventType
    client_id: str
    subscription_topic: str

    def to_json(self) -> str:
        """One line of JSON, keys and order as the Go program writes them."""
        document = {
            "clientID": self.client_id,
            "subscriptionTopic": self.subscription_topic,
            "type": int(self.type),
        }
        return json.dumps(document, separators=(",", ":"))

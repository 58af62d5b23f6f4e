"""Publish and subscribe over WebSocket: a server, clients, and the protocol between them.

The names below are the public ones. `pubsub.sync` holds the same clients for programs without asyncio.
"""

from pubsub.errors import (
    ClosedBy,
    ConfigError,
    ConnectFailed,
    ConnectionClosed,
    MisuseError,
    Overloaded,
    PeerError,
    PubSubError,
    UnhandledMessageType,
    UpgradeRefused,
)
from pubsub.events import Event, EventType
from pubsub.options import Options

__version__ = "0.1.0"

__all__ = [
    "ClosedBy",
    "ConfigError",
    "ConnectFailed",
    "ConnectionClosed",
    "Event",
    "EventType",
    "MisuseError",
    "Options",
    "Overloaded",
    "PeerError",
    "PubSubError",
    "UnhandledMessageType",
    "UpgradeRefused",
    "__version__",
]

"""Publish and subscribe over WebSocket: a server, clients, and the protocol between them.

The names below are the public ones. `pubsub.sync` holds the same clients for programs without asyncio.
"""

from pubsub.errors import (
    ClosedBy,
    ConfigError,
    ConnectFailed,
    ConnectionClosed,
    MisuseError,
    NoPong,
    Overloaded,
    PeerError,
    PubSubError,
    TooFarBehind,
    UnhandledMessageType,
    UpgradeRefused,
)
from pubsub.events import Event, EventType
from pubsub.eventstream import EventStream
from pubsub.gap import Gap
from pubsub.hub import Hub
from pubsub.options import Options
from pubsub.overflow import OverflowRule
from pubsub.publisher import Publisher
from pubsub.reader import Reader
from pubsub.reconnect import Reconnect
from pubsub.server import Server, serve
from pubsub.stats import Stats
from pubsub.subscriber import Subscriber

__version__ = "0.1.0"

__all__ = [
    "ClosedBy",
    "ConfigError",
    "ConnectFailed",
    "ConnectionClosed",
    "Event",
    "EventStream",
    "EventType",
    "Gap",
    "Hub",
    "MisuseError",
    "NoPong",
    "Options",
    "OverflowRule",
    "Overloaded",
    "PeerError",
    "PubSubError",
    "Publisher",
    "Reader",
    "Reconnect",
    "Server",
    "Stats",
    "Subscriber",
    "TooFarBehind",
    "UnhandledMessageType",
    "UpgradeRefused",
    "__version__",
    "serve",
]

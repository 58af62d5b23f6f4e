"""fastfan: a WebSocket fan-out engine. One log per topic, one cursor per subscriber, one system call per delivery."""

from fastfan._engine import DUPLEX, PUBLISHER, SUBSCRIBER, Attached, Cause, Engine, EventKind
from fastfan._reader import Reader, ReadyQueue
from fastfan._topic import Partial, Topic
from fastfan.errors import EngineClosed, EngineError, MisuseError, Overloaded, TooFarBehind

__all__ = [
    "DUPLEX",
    "PUBLISHER",
    "SUBSCRIBER",
    "Attached",
    "Cause",
    "Engine",
    "EngineClosed",
    "EngineError",
    "EventKind",
    "MisuseError",
    "Overloaded",
    "Partial",
    "Reader",
    "ReadyQueue",
    "TooFarBehind",
    "Topic",
]

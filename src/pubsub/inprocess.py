"""Topics for the program that they are in: publishing, reading and asking without a connection.

The face that Server and Hub have in common. A topic is a path; what a browser would escape may be escaped or not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import fastfan
from pubsub.addresses import topic_path
from pubsub.errors import MisuseError, Overloaded
from pubsub.reader import Reader

if TYPE_CHECKING:
    from pubsub.broker import Broker
    from pubsub.connection import Buffer
    from pubsub.desk import Desk
    from pubsub.eventstream import EventStream
    from pubsub.stats import Stats

__all__ = ["InProcess"]


@contextmanager
def _errors(who: InProcess) -> Iterator[None]:
    """The engine's errors as this package's."""
    try:
        yield
    except fastfan.Overloaded as error:
        raise Overloaded(str(error)) from None
    except fastfan.EngineClosed as error:
        # Perhaps just now, by another thread.
        raise MisuseError(str(error).replace("the engine", f"this {type(who).__name__.lower()}", 1)) from None
    except fastfan.MisuseError as error:
        raise MisuseError(str(error)) from None


class InProcess(ABC):
    """What a program may do with topics of its own."""

    @abstractmethod
    def _running(self) -> Broker:
        """The broker of now."""

    @abstractmethod
    def _here(self) -> Desk:
        """The desk of the running event loop."""

    def publish(self, topic: str, data: Buffer | str) -> int:
        """Publishes text for str, binary for anything with bytes; its offset. Any thread; `data` is free on return.

        Never blocks: with the memory limit reached it raises Overloaded and nothing is published; see `room`. So it
        does for one topic more than max_topics. Raises MisuseError for data that is neither, a topic that is no path,
        or longer than max_topic_bytes, and after close().
        """
        with _errors(self):
            place = self._running().topic(topic_path(topic))
            try:
                return place.publish(data)
            except TypeError as error:
                raise MisuseError(f"a {type(data).__name__} cannot be sent here: {error}; give bytes or str") from None

    async def room(self, topic: str) -> None:
        """Waits until publishing to the topic would be taken up: it is not paced, and memory is not short.

        Raises MisuseError for a topic that is no path, and after close(); Overloaded for one more than max_topics.
        """
        path = topic_path(topic)
        with _errors(self):
            await self._here().room(self._running().topic(path))
            self._running().topic(path)

    def topic(self, topic: str) -> fastfan.Topic:
        """The engine's topic of that path, for who publishes much or from Cython: no lookup for each message.

        What it gives raises what the engine raises (`fastfan.Overloaded`, `fastfan.EngineClosed`).
        """
        path = topic_path(topic)
        with _errors(self):
            return self._running().topic(path)

    def subscribe(self, topic: str) -> Reader:
        """What is published to the topic from now on: `async with server.subscribe("/a") as reader`, then `async for`.

        A subscriber without a connection: the lag rules of the options hold for it. It belongs to the running event
        loop. Raises MisuseError for a topic that is no path, and after close(); Overloaded for one more than
        max_topics.
        """
        path = topic_path(topic)
        with _errors(self):
            return Reader(self._here(), self._running().topic(path))

    def events(self) -> EventStream:
        """A stream of what happens from now on; bounded by `event_buffer`. Dropped streams cost nothing."""
        return self._running().streams.open()

    def stats(self) -> Stats:
        """Counts of now, and since the beginning. Any thread."""
        return self._running().stats()

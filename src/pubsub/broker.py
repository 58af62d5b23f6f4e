"""The broker: an engine under the options, and what is known of its clients. Any thread, any event loop.

    Server   plain sockets, by one event loop        ┐
    Hub      clients of web servers, and Servers     ┴──►  Broker  ──►  fastfan.Engine
"""

import fastfan
from pubsub.census import Census
from pubsub.eventstream import EventStreams
from pubsub.options import Options
from pubsub.stats import Stats

__all__ = ["Broker"]

# Topics are forgotten at most so much later than they may be, as a share of topic_linger; seconds at most.
_SWEEP_SHARE = 1 / 16
_SWEEP_EVERY = 10.0


class Broker:
    """Topics by their escaped paths. Raises OSError when the system has no descriptors left for it."""

    def __init__(self, options: Options, *, sweeps_itself: bool = False) -> None:
        """With `sweeps_itself` idle topics are also looked for when new ones come: for who has no timer."""
        self.options = options
        self._sweeps_itself = sweeps_itself
        self.engine = fastfan.Engine(
            io_threads=options.io_threads,
            max_memory_bytes=options.max_memory_bytes,
            write_timeout=options.subscriber_write_timeout,
            close_deadline=options.close_deadline,
            lane_bytes=options.max_message_bytes if options.lane else 0,
            message_timeout=options.message_timeout,
        )
        self.streams = EventStreams(options.event_buffer)
        self.census = Census(self.streams)
        self._until_sweep = 0.0
        self._topics_swept = 0

    def topic(self, path: str) -> fastfan.Topic:
        """Raises fastfan.EngineClosed after close()."""
        topic = self.engine.find_topic(path)
        # Its terms are looked up when it is made: rules are matched one by one, and this is called for every message.
        if topic is None:
            topic = self.engine.topic(path, **self.options.lag_terms(path)._asdict())
            if self._sweeps_itself:
                self.sweep(0.0)
        return topic

    def sweep(self, step: float) -> None:
        """Forgets idle topics, `step` seconds after the last call. It looks at every topic, so not at every call: when
        some may be due, or more than may linger have come."""
        self._until_sweep -= step
        most = self.options.max_lingering_topics
        if self._until_sweep > 0 and self.engine.stats()["topics"] <= self._topics_swept + most:
            return
        linger = self.options.topic_linger
        swept = self.engine.sweep_topics(linger, most)
        self._topics_swept = self.engine.stats()["topics"]
        self._until_sweep = 0.0 if swept else min(_SWEEP_EVERY, linger * _SWEEP_SHARE)

    def close(self) -> None:
        """Ends the engine and every stream of events. Whoever takes the engine's events has stopped watching them."""
        self.engine.close()
        self.streams.close()

    def stats(self) -> Stats:
        engine, census = self.engine.stats(), self.census
        return Stats(
            publishers=census.publishers,
            subscribers=census.subscribers,
            topics=engine["topics"],
            messages=census.messages + engine["messages"],
            message_bytes=census.message_bytes + engine["message_bytes"],
            ignored_messages=census.ignored_messages + engine["ignored_messages"],
            received_bytes=engine["received_bytes"],
            sent_bytes=engine["sent_bytes"],
            memory_bytes=engine["memory_bytes"],
            max_memory_bytes=engine["max_memory_bytes"],
            held_publishers=engine["held_publishers"],
            skipped_messages=engine["skipped_messages"],
            skips=engine["skips"],
            events_dropped=self.streams.dropped,
            departures=dict(census.departures),
            refusals=dict(census.refusals),
        )

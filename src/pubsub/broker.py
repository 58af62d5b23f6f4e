"""The broker: an engine under the options, and what is known of its clients. Any thread, any event loop.

    Server   plain sockets, by one event loop        ┐
    Hub      clients of web servers, and Servers     ┴──►  Broker  ──►  fastfan.Engine
"""

import time

import fastfan
from pubsub.census import Census
from pubsub.eventstream import EventStreams
from pubsub.gate import Gate, full
from pubsub.handshake import Refusal, fault_of_topic
from pubsub.options import Options
from pubsub.stats import Stats

__all__ = ["Broker"]

# Topics are forgotten at most so much later than they may be, as a share of topic_linger; seconds at most.
_SWEEP_SHARE = 1 / 16
_SWEEP_EVERY = 10.0
# At max_topics those that linger give way; to find them it looks at every topic, so not more often than this. Seconds.
_GIVE_WAY_EVERY = 1.0


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
            max_fragments=options.max_fragments or 0,
            max_control_frames=options.max_control_frames or 0,
            max_ignored_bytes=options.max_ignored_bytes or 0,
        )
        self.streams = EventStreams(options.event_buffer)
        self.census = Census(self.streams)
        self.gate = Gate(options)
        self._gave_way: float | None = None
        self._until_sweep = 0.0
        self._topics_swept = 0

    def topic(self, path: str) -> fastfan.Topic:
        """Raises fastfan.EngineClosed after close(), MisuseError for a name over max_topic_bytes, and Overloaded where
        it would be one more than max_topics."""
        topic = self.engine.find_topic(path)
        if topic is not None:
            return topic
        fault = fault_of_topic(path, self.options.max_topic_bytes)
        if fault is not None:
            raise fastfan.MisuseError(fault)
        if not self._has_topic_room():
            raise fastfan.Overloaded(f"{self._too_many_topics()}; publish to one that there is, or raise it")
        return self._make_topic(path)

    def topic_for(self, path: str, address: str | None) -> fastfan.Topic | Refusal:
        """The same for a request from `address`, of whose path `admit` has taken the measure: what it upgrades to."""
        topic = self.engine.find_topic(path)
        if topic is not None:
            return self.gate.may_upgrade() or topic
        if not self._has_topic_room():
            return full("max_topics", self._too_many_topics())
        # Last what is counted, so that who is refused for anything else takes nobody's place.
        return self.gate.may_make_topic(address) or self.gate.may_upgrade() or self._make_topic(path)

    def _too_many_topics(self) -> str:
        return f"there are {self.options.max_topics} topics already, which is max_topics"

    def _make_topic(self, path: str) -> fastfan.Topic:
        # Its terms are looked up when it is made: rules are matched one by one, and this is called for every message.
        topic = self.engine.topic(path, **self.options.lag_terms(path)._asdict())
        if self._sweeps_itself:
            self.sweep(0.0)
        return topic

    def _has_topic_room(self) -> bool:
        most, now = self.options.max_topics, time.monotonic()
        if most is None or self.engine.stats()["topics"] < most:
            return True
        if self._gave_way is not None and now - self._gave_way < _GIVE_WAY_EVERY:
            return False
        self._gave_way = now
        for lingering in (self.options.max_lingering_topics // 2, 0):
            self.engine.sweep_topics(self.options.topic_linger, lingering)
            if self.engine.stats()["topics"] < most:
                return True
        return False

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
            connections=self.gate.connections,
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
            limited=dict(census.limited),
        )

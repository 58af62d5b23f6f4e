"""Engine: what Python sees of the loops, the connections and the table of topics.

Every method may be called from any thread; turn() from one at a time. None of them waits for a socket. What a client
did comes back as events; what the shell wants done goes in as commands, which the connection's loop carries out.

The engine keeps a Topic while it has clients, and for a while longer (linger), so that epoch and offsets go on; a Topic
that the program holds stays as well. Connections point into their Topic, so between adding one and keeping its Topic,
and between seeing that a Topic is at rest and letting go of it, nothing of Python runs (see _names.pyx).
"""

import atexit
import collections
import enum
import os
import threading
import weakref

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from fastfan._core cimport duration_ns, whole
from fastfan._cursor cimport (
    CAUSE_ABORTED, CAUSE_BAD_TEXT, CAUSE_CLOSE_TIMEOUT, CAUSE_CLOSED, CAUSE_LEFT, CAUSE_MEMORY, CAUSE_MESSAGE_TIMEOUT,
    CAUSE_NO_PONG, CAUSE_NO_ROOM, CAUSE_RESET, CAUSE_SENT_TOO_MUCH, CAUSE_STALLED, CAUSE_TOO_BIG, CAUSE_TOO_FAR_BEHIND,
    CAUSE_TOO_MANY_CONTROLS, CAUSE_TOO_MANY_FRAGMENTS, ROLE_PUBLISHER, ROLE_SUBSCRIBER, Policy, Sink, cursor_join,
    TopicState, topic_at_rest,
)
from fastfan._pool cimport pool_short, pool_spare_bytes
from fastfan._sync cimport exchange_full, load_acquire, mutex_lock, mutex_unlock, store_release
from fastfan._loop cimport Counters, Loop, loop_turn, loops_come_to_rest
from fastfan._mailbox cimport (
    COMMAND_ABORT, COMMAND_BEAT, COMMAND_CLOSE, COMMAND_RESUME, COMMAND_SEND, COMMAND_START, COMMAND_WANT_ROOM,
    EVENT_CONDEMNED, EVENT_DEPARTED, EVENT_LENT, EVENT_ROOM, THEN_AWAIT, THEN_DISCARD, Command,
    CommandKind, Event, command_new, inbox_post, outbox_take,
)
from fastfan._system cimport clock_ns, poller_fileno
from fastfan._table cimport LOOP_SHIFT, table_new
from fastfan._names cimport Names
from fastfan._topic cimport Topic, to_policy, topic_new

from fastfan.errors import MisuseError, Overloaded


class Cause(enum.IntEnum):
    """Why a connection ended, or why the engine wants it closed."""

    CLOSED = CAUSE_CLOSED
    LEFT = CAUSE_LEFT
    RESET = CAUSE_RESET
    STALLED = CAUSE_STALLED
    TOO_FAR_BEHIND = CAUSE_TOO_FAR_BEHIND
    MEMORY = CAUSE_MEMORY
    NO_PONG = CAUSE_NO_PONG
    CLOSE_TIMEOUT = CAUSE_CLOSE_TIMEOUT
    ABORTED = CAUSE_ABORTED
    BAD_TEXT = CAUSE_BAD_TEXT
    TOO_BIG = CAUSE_TOO_BIG
    MESSAGE_TIMEOUT = CAUSE_MESSAGE_TIMEOUT
    NO_ROOM = CAUSE_NO_ROOM
    TOO_MANY_FRAGMENTS = CAUSE_TOO_MANY_FRAGMENTS
    TOO_MANY_CONTROLS = CAUSE_TOO_MANY_CONTROLS
    SENT_TOO_MUCH = CAUSE_SENT_TOO_MUCH


class EventKind(enum.IntEnum):
    """What an event tells; see Engine.take_events()."""

    LENT = EVENT_LENT
    CONDEMNED = EVENT_CONDEMNED
    DEPARTED = EVENT_DEPARTED
    ROOM = EVENT_ROOM


Attached = collections.namedtuple("Attached", "token epoch offset")
Attached.__doc__ = "What attach() returns: token, its log's epoch, and the offset of the first message it gets."

PUBLISHER = ROLE_PUBLISHER
SUBSCRIBER = ROLE_SUBSCRIBER
DUPLEX = ROLE_PUBLISHER | ROLE_SUBSCRIBER

# Engines with threads, which end before the interpreter does.
_running = weakref.WeakSet()


def _end_all():
    for engine in list(_running):
        engine.close()


cdef class Engine(Core):
    """See the stub (_engine.pyi) for the contract of every method."""

    def __cinit__(self, **_kwargs):
        # Core's own __cinit__ has taken the arguments.
        self.topics = Names()
        self.kept = {}
        self.naming = threading.RLock()
        if self.io_threads:
            atexit.unregister(_end_all)
            atexit.register(_end_all)
            _running.add(self)
        self.made = True

    def __del__(self):
        if self.made:   # what failed in the making has no fields yet
            self.close()

    # --- topics and connections ---

    def topic(self, str name, *, str policy="disconnect", max_lag_bytes=64 << 20, max_lag_messages=None,
              max_lag_age=None, pace_lag_bytes=4 << 20):
        cdef Bounds bounds
        bounds.policy = <Policy>to_policy(policy)
        bounds.lag_bytes = whole("max_lag_bytes", max_lag_bytes)
        bounds.lag_messages = whole("max_lag_messages", max_lag_messages or 0)
        bounds.lag_age_ns = duration_ns("max_lag_age", max_lag_age or 0.0)
        bounds.pace_bytes = whole("pace_lag_bytes", pace_lag_bytes)
        self.check_open()
        with self.naming:
            return self._named(name, &bounds)

    def find_topic(self, str name):
        self.check_open()
        with self.naming:
            topic = self.topics.get(name)
            if topic is not None:
                self.kept[topic] = None
            return topic

    cdef object _named(self, str name, Bounds *bounds):
        cdef TopicState *state
        topic = self.topics.get(name)
        if topic is None:
            topic = topic_new(self, name)
            state = &(<Topic>topic).state
            state.policy, state.pace_lag_bytes = bounds.policy, bounds.pace_bytes
            state.max_lag_bytes, state.max_lag_messages = bounds.lag_bytes, bounds.lag_messages
            state.max_lag_age_ns = bounds.lag_age_ns
            # An age is known to within an eighth of the bound.
            state.log.stretch_ns = bounds.lag_age_ns // 8
            state.idle_since_ns = clock_ns()
            topic = self.topics.put(name, topic)
        self.kept[topic] = None
        return topic

    def attach(self, Topic topic not None, *, int role):
        self.check_open()
        if topic.core is not self:
            raise MisuseError(f"topic {topic.name!r} belongs to another engine; take it from this one's topic()")
        if not 1 <= role <= 3:
            raise MisuseError(f"role={role} is none of PUBLISHER (1), SUBSCRIBER (2), DUPLEX (3)")
        with self.naming:
            # Nothing is attached to an engine that is being closed, nor to a topic that is being forgotten.
            self.check_open()
            return self._attach(topic, role)

    cdef object _attach(self, Topic topic, int role):
        cdef Loop *loop = self.loop_for_new()
        cdef Sink *sink = table_new(&loop.table)
        cdef uint64_t offset
        if sink == NULL:
            raise Overloaded("no room for another connection: 1048576 are in use, or the system is out of memory")
        sink.topic, sink.role, sink.view = &topic.state, role, &topic.state.views[loop.index]
        with nogil:
            mutex_lock(&topic.state.log.lock)
            store_release(&topic.state.clients, topic.state.clients + 1)
            if role & ROLE_SUBSCRIBER:
                cursor_join(&topic.state, sink)
            offset = topic.state.log.next_offset
            mutex_unlock(&topic.state.log.lock)
        # It is not at rest any more, so what is kept from now on stays kept.
        self.kept[topic] = None
        return Attached(sink.token, topic.state.log.epoch, offset)

    def start(self, uint64_t token, int fd, bytes head=b"", bytes leftover=b""):
        cdef Command *command
        self.check_open()
        command = command_new(COMMAND_START, token, <const uint8_t *>PyBytes_AS_STRING(head), <uint32_t>len(head),
                              <const uint8_t *>PyBytes_AS_STRING(leftover), <uint32_t>len(leftover))
        if command != NULL:
            command.a, command.b = <uint64_t>fd, <uint64_t>len(head)
        self._post(token, command)

    def send(self, uint64_t token, bytes frames):
        self._post_data(COMMAND_SEND, token, frames, 0, 0, 0)

    def resume(self, uint64_t token):
        self._post_data(COMMAND_RESUME, token, b"", 0, 0, 0)

    def end(self, uint64_t token, bytes close_frame=b"", *, bint discard=False, bint after_log=False, deadline=None):
        self._post_data(COMMAND_CLOSE, token, close_frame, THEN_DISCARD if discard else THEN_AWAIT, after_log,
                        duration_ns("deadline", deadline or 0.0))

    def abort(self, uint64_t token):
        self._post_data(COMMAND_ABORT, token, b"", 0, 0, 0)

    def beat(self, ping_interval, pong_deadline, longest_step):
        self._post_all(COMMAND_BEAT, duration_ns("ping_interval", ping_interval),
                       duration_ns("pong_deadline", pong_deadline), duration_ns("longest_step", longest_step))

    def want_room(self):
        # A bit for each loop: who clears the last one tells.
        store_release(&self.shared.room_wanted, (<uint64_t>1 << self.shared.count) - 1)
        self._post_all(COMMAND_WANT_ROOM, 0, 0, 0)

    def _post_all(self, int kind, uint64_t a, uint64_t b, uint64_t c):
        cdef uint32_t index
        for index in range(self.shared.count):
            # To a loop as a whole: such a command's token names the loop alone.
            self._post_data(kind, <uint64_t>index << LOOP_SHIFT, b"", a, b, c)

    def _post_data(self, int kind, uint64_t token, bytes data, uint64_t a, uint64_t b, uint64_t c):
        cdef Command *command
        self.check_open()
        command = command_new(<CommandKind>kind, token, <const uint8_t *>PyBytes_AS_STRING(data), <uint32_t>len(data),
                              NULL, 0)
        if command != NULL:
            command.a, command.b, command.c = a, b, c
        self._post(token, command)

    cdef int _post(self, uint64_t token, Command *command) except -1:
        cdef Loop *loop = self.loop_of(token)
        if loop == NULL:
            free(command)   # no connection of ours, as little as one that is gone
            return 0
        if not inbox_post(&loop.inbox, command):
            self.check_open()
            raise MemoryError("the system has no memory for a command")
        return 0

    # --- driving it ---

    def turn(self, budget=0.002):
        cdef uint64_t budget_ns = duration_ns("budget", budget)
        self.check_open()
        self._check_hosted("turn()")
        if exchange_full(&self.turning, 1):
            raise MisuseError("turn() is running in another thread; call it from one thread at a time")
        with nogil:
            loop_turn(self.shared.loops, budget_ns)
        store_release(&self.turning, 0)

    def take_events(self, unsigned int limit=1024):
        cdef Event *event
        cdef Event *done
        cdef list events = []
        if load_acquire(&self.shared.orphaned):
            return events
        event = outbox_take(&self.shared.outbox, limit)
        while event != NULL:
            data = PyBytes_FromStringAndSize(<char *>event.data, event.data_bytes) if event.data_bytes else b""
            events.append((event.kind, event.token, event.detail, event.extra, data))
            done = event
            event = event.next
            free(done)
        return events

    def work_fileno(self):
        cdef int fd
        self.check_open()
        self._check_hosted("work_fileno()")
        fd = poller_fileno(&self.shared.loops.poll)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        return fd

    def events_fileno(self):
        self.check_open()
        return self.shared.outbox.fd

    def _check_hosted(self, str method):
        if self.io_threads:
            raise MisuseError(f"{method} is for io_threads=0; this engine has io_threads={self.io_threads}, "
                              "which need no turns")

    # --- upkeep ---

    def sweep_topics(self, linger, most):
        """Forgets topics without clients for `linger` seconds, and the longest idle ones beyond `most`; how many."""
        cdef uint64_t linger_ns = duration_ns("linger", linger)
        cdef uint64_t number = whole("most", most)
        self.check_open()
        with self.naming:
            return self._sweep(linger_ns, number)

    cdef object _sweep(self, uint64_t linger_ns, uint64_t most):
        cdef Topic topic
        cdef uint64_t now_ns = clock_ns()
        cdef list topics = list(self.kept)
        cdef list idle = []
        cdef size_t swept = 0
        cdef size_t index
        for index in range(len(topics)):
            topic = topics[index]
            if topic_at_rest(&topic.state):
                idle.append((load_acquire(&topic.state.idle_since_ns), index))
        idle.sort()
        for since_ns, index in idle:
            if len(idle) - swept <= most and now_ns < <uint64_t>since_ns + linger_ns:
                break
            topic = topics[index]
            if topic_at_rest(&topic.state) and topic in self.kept:
                del self.kept[topic]
                swept += 1
        return swept

    def topics_kept(self):
        self.check_open()
        with self.naming:
            return list(self.kept)

    def wait_at_rest(self, timeout):
        cdef uint64_t ends_ns = clock_ns() + duration_ns("timeout", timeout)
        cdef bint at_rest = False
        self.check_open()
        with nogil:
            while not at_rest and clock_ns() < ends_ns:
                at_rest = loops_come_to_rest(&self.shared, self.io_threads, ends_ns)
        return at_rest

    @property
    def roomy(self):
        return not pool_short(&self.shared.pool)

    def stats(self):
        counts = dict.fromkeys(("connections", "received_bytes", "sent_bytes", "pings", "held_publishers", "messages",
                                "message_bytes", "ignored_messages", "skipped_messages", "skips", "turns"), 0)
        cdef uint32_t index
        for index in range(self.shared.count):
            add_counts(counts, &self.shared.loops[index])
        counts["skipped_messages"] += load_acquire(&self.shared.readers.skips.messages)
        counts["skips"] += load_acquire(&self.shared.readers.skips.gaps)
        counts["topics"] = len(self.topics)  # those that only readers or the program hold, too
        counts["memory_bytes"] = load_acquire(&self.shared.pool.used_bytes)
        counts["spare_bytes"] = 0 if self.shared.orphaned else pool_spare_bytes(&self.shared.pool)
        counts["max_memory_bytes"] = self.shared.pool.limit_bytes
        return counts

    def close(self):
        # Both before the lock, which a thread that a forked child does not have may hold there.
        if self.closed or load_acquire(&self.shared.orphaned):
            return
        with self.naming:
            if self.closed:
                return
            if exchange_full(&self.turning, 1):
                raise MisuseError("turn() is running in another thread; stop it before close()")
            self.closed = True
        with nogil:
            self.shut()
        if self.io_threads:
            _running.discard(self)
        with self.naming:   # a sweep may be under way
            self.kept.clear()


cdef int add_counts(dict counts, Loop *loop) except -1:
    cdef Counters *counters = &loop.counters
    counts["connections"] += load_acquire(&loop.table.used)
    counts["received_bytes"] += load_acquire(&counters.received_bytes)
    counts["sent_bytes"] += load_acquire(&counters.sent_bytes)
    counts["pings"] += load_acquire(&counters.pings)
    counts["held_publishers"] += load_acquire(&counters.held_publishers)
    counts["messages"] += load_acquire(&counters.messages)
    counts["message_bytes"] += load_acquire(&counters.message_bytes)
    counts["ignored_messages"] += load_acquire(&counters.ignored_messages)
    counts["skipped_messages"] += load_acquire(&counters.skips.messages)
    counts["skips"] += load_acquire(&counters.skips.gaps)
    counts["turns"] += load_acquire(&counters.turns)
    return 0

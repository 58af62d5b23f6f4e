"""Engine: what Python sees of the loop, the connections and the table of topics.

Every method may be called from any thread; turn() from one at a time. None of them waits for a socket. What a client
did comes back as events; what the shell wants done goes in as commands, which the loop carries out in its next turn.

The engine keeps a Topic while it has clients, and for a while longer (linger), so that epoch and offsets go on; a Topic
that the program holds stays as well.
"""

import collections
import enum
import threading
import weakref

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free

from fastfan._core cimport to_ns
from fastfan._cursor cimport (
    CAUSE_ABORTED, CAUSE_CLOSE_TIMEOUT, CAUSE_CLOSED, CAUSE_LEFT, CAUSE_MEMORY, CAUSE_NO_PONG, CAUSE_RESET,
    CAUSE_STALLED, CAUSE_TOO_FAR_BEHIND, ROLE_PUBLISHER, ROLE_SUBSCRIBER, Sink, cursor_join,
)
from fastfan._pool cimport pool_short
from fastfan._sync cimport exchange_full, load_acquire, mutex_lock, mutex_unlock, store_release
from fastfan._loop cimport loop_shut, loop_turn
from fastfan._mailbox cimport (
    COMMAND_ABORT, COMMAND_BEAT, COMMAND_CLOSE, COMMAND_RESUME, COMMAND_SEND, COMMAND_START, COMMAND_WANT_ROOM,
    EVENT_CONDEMNED, EVENT_DEPARTED, EVENT_LENT, EVENT_ROOM, THEN_AWAIT, THEN_DISCARD, Command, CommandKind, Event,
    command_new, inbox_post, outbox_take,
)
from fastfan._table cimport table_new
from fastfan._topic cimport Topic

from fastfan.errors import MisuseError, Overloaded


cdef extern from "clock.h" nogil:
    uint64_t clock_ns()


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

cdef class Engine(Core):
    """See the stub (_engine.pyi) for the contract of every method."""

    def __cinit__(self, **_kwargs):
        # Core's own __cinit__ has taken the arguments.
        self.topics = weakref.WeakValueDictionary()
        self.kept = {}
        self.naming = threading.RLock()

    def __del__(self):
        self.close()

    # --- topics and connections ---

    def topic(self, str name, *, max_lag_bytes=64 << 20, max_lag_messages=None, max_lag_age=None,
              pace_lag_bytes=4 << 20):
        self.check_open()
        with self.naming:
            return self._named(name, max_lag_bytes, max_lag_messages, max_lag_age, pace_lag_bytes)

    def _named(self, str name, max_lag_bytes, max_lag_messages, max_lag_age, pace_lag_bytes):
        topic = self.topics.get(name)
        if topic is None:
            topic = Topic.__new__(Topic, self, name)
            (<Topic>topic).state.max_lag_bytes = max_lag_bytes
            (<Topic>topic).state.max_lag_messages = max_lag_messages or 0
            (<Topic>topic).state.max_lag_age_ns = to_ns(max_lag_age or 0.0)
            (<Topic>topic).state.pace_lag_bytes = pace_lag_bytes
            (<Topic>topic).state.idle_since_ns = clock_ns()
            self.topics[name] = topic
        self.kept[name] = topic
        return topic

    def attach(self, Topic topic not None, *, int role):
        cdef Sink *sink
        cdef uint64_t offset
        self.check_open()
        if topic.core is not self:
            raise MisuseError(f"topic {topic.name!r} belongs to another engine; take it from this one's topic()")
        if not 1 <= role <= 3:
            raise MisuseError(f"role={role} is none of PUBLISHER (1), SUBSCRIBER (2), DUPLEX (3)")
        sink = table_new(&self.loop.table)
        if sink == NULL:
            raise Overloaded("no room for another connection: 1048576 are in use, or the system is out of memory")
        sink.topic, sink.role = &topic.state, role
        mutex_lock(&topic.state.log.lock)
        topic.state.clients += 1
        if role & ROLE_SUBSCRIBER:
            cursor_join(&topic.state, sink)
        offset = topic.state.log.next_offset
        mutex_unlock(&topic.state.log.lock)
        with self.naming:
            self.kept[topic.name] = topic
        return Attached(sink.token, topic.state.log.epoch, offset)

    def start(self, uint64_t token, int fd, bytes head=b"", bytes leftover=b""):
        cdef Command *command
        self.check_open()
        command = command_new(COMMAND_START, token, <const uint8_t *>PyBytes_AS_STRING(head), <uint32_t>len(head),
                              <const uint8_t *>PyBytes_AS_STRING(leftover), <uint32_t>len(leftover))
        if command != NULL:
            command.a, command.b = <uint64_t>fd, <uint64_t>len(head)
        self._post(inbox_post(&self.loop.inbox, command))

    def send(self, uint64_t token, bytes frames):
        self._post_data(COMMAND_SEND, token, frames, 0, 0, 0)

    def resume(self, uint64_t token):
        self._post_data(COMMAND_RESUME, token, b"", 0, 0, 0)

    def end(self, uint64_t token, bytes close_frame=b"", *, bint discard=False, bint after_log=False, deadline=None):
        self._post_data(COMMAND_CLOSE, token, close_frame, THEN_DISCARD if discard else THEN_AWAIT, after_log,
                        to_ns(deadline or 0.0))

    def abort(self, uint64_t token):
        self._post_data(COMMAND_ABORT, token, b"", 0, 0, 0)

    def beat(self, double ping_interval, double pong_deadline, double longest_step):
        self._post_data(COMMAND_BEAT, 0, b"", to_ns(ping_interval), to_ns(pong_deadline), to_ns(longest_step))

    def want_room(self):
        self._post_data(COMMAND_WANT_ROOM, 0, b"", 0, 0, 0)

    def _post_data(self, int kind, uint64_t token, bytes data, uint64_t a, uint64_t b, uint64_t c):
        cdef Command *command
        self.check_open()
        command = command_new(<CommandKind>kind, token, <const uint8_t *>PyBytes_AS_STRING(data), <uint32_t>len(data),
                              NULL, 0)
        if command != NULL:
            command.a, command.b, command.c = a, b, c
        self._post(inbox_post(&self.loop.inbox, command))

    def _post(self, bint posted):
        if not posted:
            raise MemoryError("the system has no memory for a command")

    # --- driving it ---

    def turn(self, double budget=0.002):
        self.check_open()
        while exchange_full(&self.turning, 1):
            if self.sweeping:
                with self.naming:   # held for as long as the sweep takes
                    continue
            raise MisuseError("turn() is running in another thread; call it from one thread at a time")
        with nogil:
            loop_turn(&self.loop, <uint64_t>(budget * 1e9))
        store_release(&self.turning, 0)

    def take_events(self, unsigned int limit=1024):
        cdef Event *event
        cdef Event *done
        cdef list events = []
        event = outbox_take(&self.loop.outbox, limit)
        while event != NULL:
            data = PyBytes_FromStringAndSize(<char *>event.data, event.data_bytes) if event.data_bytes else b""
            events.append((event.kind, event.token, event.detail, event.extra, data))
            done = event
            event = event.next
            free(done)
        return events

    def work_fileno(self):
        self.check_open()
        return self.loop.poll.fd

    def events_fileno(self):
        self.check_open()
        return self.loop.outbox.fd

    # --- upkeep ---

    def sweep_topics(self, double linger, size_t most):
        """Forgets topics without clients for `linger` seconds, and the longest idle ones beyond `most`; how many."""
        self.check_open()
        with self.naming:
            # Between turns only: a turn may still be using a topic whose last client has just gone.
            if exchange_full(&self.turning, 1):
                return 0
            self.sweeping = True
            try:
                return self._sweep(linger, most)
            finally:
                store_release(&self.turning, 0)
                self.sweeping = False

    def _sweep(self, double linger, size_t most):
        cdef Topic topic
        cdef uint64_t now_ns = clock_ns()
        cdef list idle = []
        cdef size_t swept = 0
        for topic in list(self.kept.values()):
            if topic.state.clients == 0 and not topic.state.queued:
                idle.append((topic.state.idle_since_ns, topic.name))
        idle.sort()
        for since_ns, name in idle:
            if len(idle) - swept <= most and now_ns - <uint64_t>since_ns < to_ns(linger):
                break
            del self.kept[name]
            swept += 1
        return swept

    def topics_kept(self):
        self.check_open()
        return list(self.kept.values())

    @property
    def roomy(self):
        return not pool_short(&self.pool)

    def stats(self):
        return {
            "topics": len(self.kept),
            "connections": load_acquire(&self.loop.table.used),
            "memory_bytes": load_acquire(&self.pool.used_bytes),
            "spare_bytes": self.pool.spare_bytes,
            "max_memory_bytes": self.pool.limit_bytes,
            "received_bytes": load_acquire(&self.loop.counters.received_bytes),
            "sent_bytes": load_acquire(&self.loop.counters.sent_bytes),
            "pings": load_acquire(&self.loop.counters.pings),
            "held_publishers": load_acquire(&self.loop.counters.held_publishers),
            "messages": load_acquire(&self.loop.counters.messages),
            "message_bytes": load_acquire(&self.loop.counters.message_bytes),
            "turns": load_acquire(&self.loop.counters.turns),
        }

    def close(self):
        if self.closed or not self.ready:
            return
        if exchange_full(&self.turning, 1):
            raise MisuseError("turn() is running in another thread; stop it before close()")
        self.closed = True
        with nogil:
            loop_shut(&self.loop)
        store_release(&self.turning, 0)
        self.kept.clear()

"""Engine, Topic and Partial: what Python sees of the engine.

Every method may be called from any thread; turn() from one at a time. None of them waits for a socket. What a client
did comes back as events; what the shell wants done goes in as commands, which the loop carries out in its next turn.

Lifetimes: a Topic holds its Engine. The engine keeps a Topic while it has clients, and for a while longer (linger), so
that epoch and offsets go on; a Topic that the program holds stays as well. Data given to a method may be reused when
the method returns: the engine copies it.
"""

import enum
import os
import weakref

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastfan._cursor cimport (
    CAUSE_ABORTED, CAUSE_CLOSE_TIMEOUT, CAUSE_CLOSED, CAUSE_LEFT, CAUSE_MEMORY, CAUSE_NO_PONG, CAUSE_RESET, CAUSE_STALLED,
    CAUSE_TOO_FAR_BEHIND, ROLE_PUBLISHER, ROLE_SUBSCRIBER, Sink, cursor_join,
)
from fastfan._lag cimport lag_span
from fastfan._log cimport (
    FRAME_BINARY, FRAME_TEXT, exchange_full, frame_header_size, load_acquire, log_append, log_append_partial, log_clear,
    log_count_unseen, log_init, mutex_lock, mutex_unlock, partial_drop, partial_extend, pool_allows, pool_clear, pool_init,
    store_release,
)
from fastfan._loop cimport loop_abort_all, loop_clear, loop_init, loop_turn
from fastfan._mailbox cimport (
    COMMAND_ABORT, COMMAND_BEAT, COMMAND_CLOSE, COMMAND_RESUME, COMMAND_SEND, COMMAND_START, COMMAND_WANT_ROOM, CommandKind,
    EVENT_CONDEMNED, EVENT_DEPARTED, EVENT_LENT, EVENT_ROOM, THEN_AWAIT, THEN_DISCARD, Command, Event, command_new,
    inbox_mark_dirty, inbox_post, outbox_take,
)
from fastfan._table cimport table_new

from fastfan.errors import EngineClosed, MisuseError, Overloaded
from fastfan.memory import default_memory_limit


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

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


PUBLISHER = ROLE_PUBLISHER
SUBSCRIBER = ROLE_SUBSCRIBER
DUPLEX = ROLE_PUBLISHER | ROLE_SUBSCRIBER

cdef inline uint64_t to_ns(double seconds):
    return <uint64_t>(seconds * 1e9)


cdef class Engine:
    """See the stub (_engine.pyi) for the contract of every method."""

    def __cinit__(self, *, int io_threads=0, max_memory_bytes=None, double write_timeout=10.0, double close_deadline=5.0,
                  int notsent_bytes=65536):
        cdef int result
        if io_threads != 0:
            raise MisuseError(f"io_threads={io_threads} is not built yet; leave it at 0 and drive the engine with turn()")
        if max_memory_bytes is None:
            max_memory_bytes = default_memory_limit()
        if max_memory_bytes < 1 << 20:
            raise MisuseError(f"max_memory_bytes={max_memory_bytes} is below 1048576; give the engine at least 1 MiB")
        if write_timeout <= 0 or close_deadline <= 0:
            raise MisuseError(f"write_timeout={write_timeout} and close_deadline={close_deadline} must be above 0 s")
        pool_init(&self.pool, max_memory_bytes)
        result = loop_init(&self.loop, &self.pool, to_ns(write_timeout), to_ns(close_deadline), notsent_bytes,
                           int.from_bytes(os.urandom(8), "little"))
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        self.ready = True
        self.topics = weakref.WeakValueDictionary()
        self.kept = {}

    def __dealloc__(self):
        if self.ready:
            loop_clear(&self.loop)
            pool_clear(&self.pool)

    def __del__(self):
        self.close()

    cdef int check_open(self) except -1:
        if self.closed:
            raise EngineClosed("the engine is closed; make a new one")
        return 0

    # --- topics and connections ---

    def topic(self, str name, *, max_lag_bytes=64 << 20, max_lag_messages=None, max_lag_age=None, pace_lag_bytes=4 << 20):
        self.check_open()
        topic = self.topics.get(name)
        if topic is None:
            topic = Topic.__new__(Topic, self, name)
            (<Topic>topic).state.max_lag_bytes = max_lag_bytes
            (<Topic>topic).state.max_lag_messages = max_lag_messages or 0
            (<Topic>topic).state.max_lag_age_ns = to_ns(max_lag_age or 0.0)
            (<Topic>topic).state.pace_lag_bytes = pace_lag_bytes
            self.topics[name] = topic
        return topic

    def attach(self, Topic topic not None, *, int role):
        cdef Sink *sink
        cdef uint64_t offset
        self.check_open()
        if topic.engine is not self:
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
        self.kept[topic.name] = topic
        return sink.token, topic.state.log.epoch, offset

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
        command = command_new(<CommandKind>kind, token, <const uint8_t *>PyBytes_AS_STRING(data), <uint32_t>len(data), NULL, 0)
        if command != NULL:
            command.a, command.b, command.c = a, b, c
        self._post(inbox_post(&self.loop.inbox, command))

    def _post(self, bint posted):
        if not posted:
            raise MemoryError("the system has no memory for a command")

    # --- driving it ---

    def turn(self, double budget=0.002):
        self.check_open()
        if exchange_full(&self.turning, 1):
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
        return list(self.kept.values())

    @property
    def roomy(self):
        return load_acquire(&self.pool.used_bytes) < self.pool.limit_bytes // 5 * 4

    def stats(self):
        return {
            "connections": load_acquire(&self.loop.table.used),
            "memory_bytes": load_acquire(&self.pool.used_bytes),
            "spare_bytes": self.pool.spare_bytes,
            "max_memory_bytes": self.pool.limit_bytes,
            "received_bytes": load_acquire(&self.loop.counters.received_bytes),
            "sent_bytes": load_acquire(&self.loop.counters.sent_bytes),
            "pings": load_acquire(&self.loop.counters.pings),
            "held_publishers": load_acquire(&self.loop.counters.held_publishers),
            "turns": load_acquire(&self.loop.counters.turns),
        }

    def close(self):
        if self.closed or not self.ready:
            return
        if exchange_full(&self.turning, 1):
            raise MisuseError("turn() is running in another thread; stop it before close()")
        self.closed = True
        with nogil:
            loop_abort_all(&self.loop)
        store_release(&self.turning, 0)
        self.kept.clear()


@cython.no_gc_clear
cdef class Topic:
    """See the stub (_engine.pyi) for the contract of every method."""

    def __cinit__(self, Engine engine not None, str name not None):
        self.engine = engine
        self.name = name
        # 63 bits, so that it is a positive number in every language's signed type.
        log_init(&self.state.log, &engine.pool, int.from_bytes(os.urandom(8), "little") >> 1)
        self.state.loop = &engine.loop

    def __dealloc__(self):
        if self.engine is not None:
            log_clear(&self.state.log)
            free(self.state.view.sinks)

    def __repr__(self):
        return f"<Topic {self.name!r}: {self.state.listeners} subscribers, next offset {self.state.log.next_offset}>"

    # --- publishing ---

    def publish(self, data, *, bint text=False):
        cdef Piece piece
        cdef Py_buffer view
        cdef uint64_t offset
        if isinstance(data, str):
            to_piece(data, &piece)
            return self.append(&piece, 1, True)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if text:
                check_utf8(data)
            piece.data, piece.data_bytes = <const uint8_t *>view.buf, <size_t>view.len
            piece.opcode = FRAME_TEXT if text else FRAME_BINARY
            offset = self.append(&piece, 1, True)
        finally:
            PyBuffer_Release(&view)
        return offset

    def publish_many(self, messages, *, bint strict=True):
        cdef list items = [item if isinstance(item, (bytes, str)) else bytes(item) for item in messages]
        cdef size_t count = len(items)
        cdef size_t index
        cdef Piece *pieces
        if count == 0:
            return self.state.log.next_offset - 1
        pieces = <Piece *>malloc(count * sizeof(Piece))
        if pieces == NULL:
            raise MemoryError(f"the system has no memory for a batch of {count} messages")
        try:
            for index in range(count):
                to_piece(items[index], &pieces[index])
            return self.append(pieces, count, strict)
        finally:
            free(pieces)

    def partial(self, *, bint text=False):
        cdef Partial partial = Partial.__new__(Partial)
        self.engine.check_open()
        partial.topic, partial.text = self, text
        return partial

    cdef uint64_t append(self, Piece *pieces, size_t count, bint strict) except 0:
        cdef size_t index
        cdef size_t batch_bytes = 0
        cdef uint64_t offset
        cdef uint64_t now_ns = clock_ns()
        cdef bint stored = True
        cdef TopicState *state = &self.state
        self.engine.check_open()
        for index in range(count):
            batch_bytes += frame_header_size(pieces[index].data_bytes) + pieces[index].data_bytes
        if strict and not pool_allows(&self.engine.pool, batch_bytes):
            raise overloaded(self.engine, batch_bytes)
        with nogil:
            mutex_lock(&state.log.lock)
            for index in range(count):
                if state.listeners == 0:
                    log_count_unseen(&state.log, pieces[index].data_bytes)
                    continue
                stored = log_append(&state.log, pieces[index].opcode, pieces[index].data, pieces[index].data_bytes,
                                    batch_bytes, now_ns)
                if not stored:
                    break
            offset = state.log.next_offset - 1
            mutex_unlock(&state.log.lock)
            if state.view.count:
                inbox_mark_dirty(&self.engine.loop.inbox, state)
        if not stored:
            raise Overloaded(f"the system has no memory for a message of {pieces[index].data_bytes} bytes; free some")
        return offset

    # --- what it is like now ---

    @property
    def epoch(self):
        return self.state.log.epoch

    @property
    def next_offset(self):
        return load_acquire(&self.state.log.next_offset)

    @property
    def subscribers(self):
        return self.state.listeners

    @property
    def clients(self):
        return self.state.clients

    @property
    def paced(self):
        return self.state.view.paced

    @property
    def log_bytes(self):
        mutex_lock(&self.state.log.lock)
        held = 0 if self.state.log.head == NULL else self.state.log.end_position - self.state.log.head.base
        mutex_unlock(&self.state.log.lock)
        return held


@cython.no_gc_clear
cdef class Partial:
    """See the stub (_engine.pyi) for the contract of every method."""

    def __dealloc__(self):
        if self.topic is not None:
            partial_drop(&self.topic.engine.pool, &self.state)

    def __len__(self):
        return self.state.payload_bytes

    def extend(self, data):
        cdef Piece piece
        cdef bint room
        self.topic.engine.check_open()
        to_piece(data if isinstance(data, (bytes, str)) else bytes(data), &piece)
        with nogil:
            room = partial_extend(&self.topic.engine.pool, &self.state, piece.data, piece.data_bytes)
        if not room:
            raise overloaded(self.topic.engine, self.state.payload_bytes + piece.data_bytes)

    def publish(self):
        cdef TopicState *state = &self.topic.state
        cdef uint8_t opcode = FRAME_TEXT if self.text else FRAME_BINARY
        cdef bint stored = True
        cdef uint64_t offset
        self.topic.engine.check_open()
        with nogil:
            mutex_lock(&state.log.lock)
            if state.listeners == 0:
                log_count_unseen(&state.log, self.state.payload_bytes)
                partial_drop(state.log.pool, &self.state)
            else:
                stored = log_append_partial(&state.log, &self.state, opcode, clock_ns())
            offset = state.log.next_offset - 1
            mutex_unlock(&state.log.lock)
            if state.view.count:
                inbox_mark_dirty(&self.topic.engine.loop.inbox, state)
        if not stored:
            raise overloaded(self.topic.engine, self.state.payload_bytes)
        return offset


cdef int to_piece(object item, Piece *piece) except -1:
    """Where the bytes of a bytes or str object are; they live as long as the object."""
    cdef Py_ssize_t size
    if isinstance(item, bytes):
        piece.data = <const uint8_t *>PyBytes_AS_STRING(item)
        piece.data_bytes, piece.opcode = <size_t>PyBytes_GET_SIZE(item), FRAME_BINARY
        return 0
    try:
        piece.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(item, &size)
    except UnicodeEncodeError as error:
        raise MisuseError(f"text message is not Unicode at index {error.start} ({error.reason}); "
                          "send it as bytes or mend it") from None
    piece.data_bytes, piece.opcode = <size_t>size, FRAME_TEXT
    return 0


cdef int check_utf8(data) except -1:
    try:
        bytes(data).decode()
    except UnicodeDecodeError as error:
        raise MisuseError(f"text message is not UTF-8 at byte {error.start} ({error.reason}); "
                          "publish it as binary or mend it") from None
    return 0


cdef object overloaded(Engine engine, size_t need_bytes):
    return Overloaded(
        f"{need_bytes} bytes more are over max_memory_bytes={engine.pool.limit_bytes} "
        f"({load_acquire(&engine.pool.used_bytes)} in use); wait for room, or raise the limit")

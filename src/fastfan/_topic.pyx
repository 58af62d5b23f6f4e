"""Topic and Partial: publishing, from any thread.

A Topic holds its core, so the memory its log came from outlives it. Data given to a method may be reused when the
method returns: it was copied into the log, framed. Small batches are, under the log's lock; large ones into a log of
their own, which is then linked as a whole, for the lock holds up everybody on the topic's loops.
"""

import os

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport UINT64_MAX, uint32_t
from libc.stdlib cimport calloc, free, malloc

from fastfan._log cimport (
    FRAME_BINARY, FRAME_TEXT, Foresight, Log, frame_header_size, log_append, log_append_partial, log_clear,
    log_count_all_unseen, log_count_unseen, log_foresee, log_foresight, log_init, log_splice, partial_drop,
    partial_extend,
)
from fastfan._codec cimport is_utf8
from fastfan._cursor cimport TopicState, View
from fastfan._dirty cimport dirty_mark_all
from fastfan._loop cimport Loop
from fastfan._pool cimport pool_allows
from fastfan._readers cimport readers_note_append
from fastfan._sync cimport exchange_full, load_acquire, mutex_lock, mutex_unlock, store_release
from fastfan._system cimport clock_ns

from fastfan.errors import MisuseError, Overloaded


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

# What Topic() is called with here, and nobody else has.
cdef object KEY = object()

cdef enum:
    ASIDE_BYTES = 1 << 20       # about a slice's worth of copying; and the rest of a last segment is less than a fifth

# In the order of the enum Policy.
cdef tuple POLICY_NAMES = ("disconnect", "skip", "latest", "block")


cdef void topic_set_up(TopicState *state, Loop *loops, uint32_t count) noexcept nogil:
    cdef uint32_t index
    cdef View *view
    state.loops = count
    for index in range(count + 1):
        view = &state.views[index]
        view.topic, view.loop = state, index
        view.inbox = &loops[index].inbox if index < count else NULL
        view.skips = &loops[index].counters.skips if index < count else &loops.shared.readers.skips
        view.keep_from = view.done = view.base = UINT64_MAX


@cython.no_gc_clear
cdef class Topic:
    """See the stub (_topic.pyi) for the contract of every method."""

    def __cinit__(self, core=None, name=None, key=None, **_others):
        if key is not KEY:
            raise MisuseError("a Topic is not made by itself; take one from an engine's topic()")
        self.core = core
        self.name = name
        self.state.views = <View *>calloc(self.core.shared.count + 1, sizeof(View))
        if self.state.views == NULL:
            raise MemoryError("the system has no memory for a topic")
        # 63 bits, so that it is a positive number in every language's signed type.
        log_init(&self.state.log, &self.core.shared.pool, int.from_bytes(os.urandom(8), "little") >> 1)
        topic_set_up(&self.state, self.core.shared.loops, self.core.shared.count)
        self.handle.topic, self.handle.engine = &self.state, &self.core.shared

    def __dealloc__(self):
        cdef uint32_t index
        if self.state.views == NULL or self.core.shared.orphaned:
            return
        log_clear(&self.state.log)
        for index in range(self.state.loops):
            free(self.state.views[index].sinks)
        free(self.state.views)

    def __repr__(self):
        return f"<Topic {self.name!r}: {self.subscribers} subscribers, next offset {self.next_offset}>"

    # --- publishing ---

    def publish(self, data, *, bint text=False):
        cdef Piece piece
        cdef Py_buffer view
        cdef uint64_t offset
        if text and not isinstance(data, str):
            data = to_bytes(data)   # what is checked is what is sent
            check_utf8(data)
        if isinstance(data, (bytes, str)):
            to_piece(data, &piece)
            if text:
                piece.opcode = FRAME_TEXT
            return self.append(&piece, 1, True)
        get_buffer(data, &view)
        try:
            piece.data, piece.data_bytes = <const uint8_t *>view.buf, <size_t>view.len
            piece.opcode = FRAME_BINARY
            offset = self.append(&piece, 1, True)
        finally:
            PyBuffer_Release(&view)
        return offset

    def publish_many(self, messages, *, bint strict=True):
        cdef list items = [to_item(item) for item in messages]
        cdef size_t count = len(items)
        cdef size_t index
        cdef Piece *pieces
        self.core.check_open()
        if count == 0:
            return self.next_offset - 1
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
        self.core.check_open()
        return Partial.__new__(Partial, self, text)

    def reader(self, *, ready=None):
        # Its module needs this one's Topic first.
        from fastfan._reader import Reader
        return Reader.__new__(Reader, self, ready)

    cdef uint64_t append(self, Piece *pieces, size_t count, bint strict) except 0:
        cdef Batch batch
        cdef Appended outcome
        self.core.check_open()
        batch.pieces, batch.count = pieces, count
        with nogil:
            outcome = append_batch(&self.state, &batch, strict)
        if outcome != APPENDED:
            raise overloaded(self.core, batch.frame_bytes)
        return batch.last_offset

    # --- what it is like now ---

    @property
    def epoch(self):
        return self.state.log.epoch

    @property
    def next_offset(self):
        return load_acquire(&self.state.log.next_offset)

    @property
    def policy(self):
        return POLICY_NAMES[self.state.policy]

    @property
    def subscribers(self):
        return load_acquire(&self.state.listeners)

    @property
    def clients(self):
        return load_acquire(&self.state.clients)

    @property
    def paced(self):
        return load_acquire(&self.state.paced) != 0

    @property
    def skipped_messages(self):
        return load_acquire(&self.state.skips.messages)

    @property
    def skips(self):
        return load_acquire(&self.state.skips.gaps)

    @property
    def log_bytes(self):
        cdef uint64_t held_bytes = 0
        if self.core.shared.orphaned:
            return 0
        with nogil:
            mutex_lock(&self.state.log.lock)
            if self.state.log.head != NULL:
                held_bytes = self.state.log.end_position - self.state.log.head.base
            mutex_unlock(&self.state.log.lock)
        return held_bytes


@cython.no_gc_clear
cdef class Partial:
    """See the stub (_topic.pyi) for the contract of every method."""

    def __cinit__(self, Topic topic not None, bint text):
        self.topic, self.text = topic, text

    def __dealloc__(self):
        if self.topic is not None and not self.topic.core.shared.orphaned:
            partial_drop(&self.topic.core.shared.pool, &self.state)

    def __len__(self):
        return self.state.payload_bytes

    cdef int enter(self) except -1:
        self.topic.core.check_open()
        if exchange_full(&self.busy, 1):
            raise MisuseError("another thread is in this partial's extend() or publish(); one at a time, "
                              "or a partial for each")
        return 0

    cdef void leave(self) noexcept:
        store_release(&self.busy, 0)

    def extend(self, data):
        cdef Piece piece
        cdef bint room
        item = to_item(data)
        to_piece(item, &piece)
        self.enter()
        with nogil:
            room = partial_extend(&self.topic.core.shared.pool, &self.state, piece.data, piece.data_bytes)
        self.leave()
        if not room:
            raise overloaded(self.topic.core, self.state.payload_bytes + piece.data_bytes)

    def publish(self):
        cdef TopicState *state = &self.topic.state
        cdef uint8_t opcode = FRAME_TEXT if self.text else FRAME_BINARY
        cdef bint stored = True
        cdef uint64_t now_ns = clock_ns()
        cdef uint64_t offset
        self.enter()
        with nogil:
            mutex_lock(&state.log.lock)
            if state.listeners == 0:
                log_count_unseen(&state.log, self.state.payload_bytes)
                partial_drop(state.log.pool, &self.state)
            else:
                stored = log_append_partial(&state.log, &self.state, opcode, now_ns)
            offset = note_appended(state, now_ns)
            mutex_unlock(&state.log.lock)
        self.leave()
        if not stored:
            raise overloaded(self.topic.core, self.state.payload_bytes)
        return offset


cdef Topic topic_new(Core core, str name):
    return Topic.__new__(Topic, core, name, KEY)


cdef int to_policy(str name) except -1:
    if name not in POLICY_NAMES:
        raise MisuseError(f"policy={name!r} is unknown; give disconnect, skip, latest or block")
    return POLICY_NAMES.index(name)


cdef object to_item(object data):
    return data if isinstance(data, (bytes, str)) else to_bytes(data)


cdef object to_bytes(object data):
    # Through a memoryview, because bytes(5) is five zeros, and a class of bytes may say what it likes.
    return data if type(data) is bytes else bytes(memoryview(data))


cdef int get_buffer(object data, Py_buffer *view) except -1:
    try:
        PyObject_GetBuffer(data, view, PyBUF_SIMPLE)
    except BufferError:     # not in one piece
        PyObject_GetBuffer(to_bytes(data), view, PyBUF_SIMPLE)
    return 0


cdef Appended append_batch(TopicState *state, Batch *batch, bint strict) noexcept nogil:
    """Any thread. Over the limit nothing is appended; without memory from the system, what fitted is."""
    cdef Appended outcome
    cdef Piece *end = batch.pieces + batch.count
    cdef Piece *piece = batch.pieces
    cdef uint64_t now_ns = clock_ns()
    batch.frame_bytes = 0
    while piece < end:
        batch.frame_bytes += frame_header_size(piece.data_bytes) + piece.data_bytes
        piece += 1
    if batch.frame_bytes > ASIDE_BYTES and load_acquire(&state.listeners):
        return append_aside(state, batch, strict, now_ns)
    mutex_lock(&state.log.lock)
    outcome = fill(&state.log, batch, strict, now_ns, state.listeners == 0)
    batch.last_offset = note_appended(state, now_ns)
    mutex_unlock(&state.log.lock)
    return outcome


cdef Appended append_aside(TopicState *state, Batch *batch, bint strict, uint64_t now_ns) noexcept nogil:
    cdef Log aside
    cdef Appended outcome
    log_init(&aside, state.log.pool, 0)
    aside.stretch_ns = state.log.stretch_ns
    outcome = fill(&aside, batch, strict, now_ns, False)
    mutex_lock(&state.log.lock)
    if state.listeners:
        log_splice(&state.log, &aside)
    else:
        log_count_all_unseen(&state.log, &aside)
    batch.last_offset = note_appended(state, now_ns)
    mutex_unlock(&state.log.lock)
    log_clear(&aside)
    return outcome


cdef inline Appended fill(Log *log, Batch *batch, bint strict, uint64_t now_ns, bint unseen) noexcept nogil:
    cdef Piece *end = batch.pieces + batch.count
    cdef Piece *piece = batch.pieces
    cdef Foresight foresight
    log_foresight(log, &foresight, batch.frame_bytes, now_ns)
    if strict and not batch_fits(log, batch, &foresight):
        return OVER_LIMIT
    while piece < end:
        if unseen:
            log_count_unseen(log, piece.data_bytes)
        elif not log_append(log, piece.opcode, piece.data, piece.data_bytes, foresight.wish_bytes, now_ns):
            return NO_MEMORY
        piece += 1
    return APPENDED


cdef inline uint64_t note_appended(TopicState *state, uint64_t now_ns) noexcept nogil:
    """Tells who reads; the last message's offset."""
    # Under the lock: who reads cannot leave, and the topic be forgotten, before the view is on its list.
    store_release(&state.idle_since_ns, now_ns)
    dirty_mark_all(NULL, state, state.viewers)
    readers_note_append(state)
    return state.log.next_offset - 1


cdef inline bint batch_fits(Log *log, Batch *batch, Foresight *foresight) noexcept nogil:
    cdef Piece *end = batch.pieces + batch.count
    cdef Piece *piece = batch.pieces
    while piece < end:
        log_foresee(log, foresight, piece.data_bytes)
        piece += 1
    return foresight.block_bytes == 0 or pool_allows(log.pool, foresight.block_bytes)


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


cdef int check_utf8(bytes data) except -1:
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t data_bytes = <size_t>PyBytes_GET_SIZE(data)
    cdef bint whole
    with nogil:
        whole = is_utf8(at, data_bytes)
    if whole:
        return 0
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise MisuseError(f"text message is not UTF-8 at byte {error.start} ({error.reason}); "
                          "publish it as binary or mend it") from None
    return 0


cdef object overloaded(Core core, size_t need_bytes):
    return Overloaded(
        f"{need_bytes} bytes more are over max_memory_bytes={core.shared.pool.limit_bytes} "
        f"({load_acquire(&core.shared.pool.used_bytes)} in use); wait for room, or raise the limit")

"""Reader: a topic's log, read from Python; ReadyQueue: which of many can be read. Rules: _readers.pyx, _ready.pyx.

A Reader holds its Topic, so the log outlives it. Any thread may call every method; one at a time is in read().
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.errno cimport EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from fastfan._core cimport whole
from fastfan._cursor cimport CAUSE_MEMORY
from fastfan._log cimport FRAME_TEXT, frame_size_at
from fastfan._loop cimport Shared, loops_nudge
from fastfan._mailbox cimport EVENT_ROOM, outbox_put
from fastfan._pool cimport Segment, pool_short
from fastfan._readers cimport (
    AT_END, BUSY, ENDED, Begun, ReadBatch, ReaderPlace, readers_begin, readers_close, readers_fileno, readers_finish,
    readers_open, readers_paced_for_others, readers_place,
)
from fastfan._ready cimport ready_clear, ready_init, ready_shut, ready_take
from fastfan._sync cimport add_fetch, exchange_full, load_acquire, load_acquire_pointer
from fastfan._system cimport clock_ns, notifier_close
from fastfan._table cimport LOOP_SHIFT

from fastfan.errors import MisuseError, TooFarBehind


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
    enum:
        POLLIN
    int poll(pollfd *fds, int count, int timeout_ms)

cdef enum:
    EVERY_LOOP = 0xFFFF
    READER_LOOP = 0xFF          # where a connection's token names its loop; no engine has so many
    LONGEST_MS = 60_000

# Of this process, for tokens.
cdef uint64_t readers_made = 0


cdef class ReadyQueue:
    """See the stub (_reader.pyi) for the contract of every method."""

    def __cinit__(self, Core engine not None):
        cdef int fd
        engine.check_open()
        fd = ready_init(&self.state)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        self.core, self.made = engine, True

    def __dealloc__(self):
        # In a forked child a thread that is not there may hold the lock.
        if self.made and not self.core.shared.orphaned:
            ready_clear(&self.state)

    def fileno(self):
        self.core.check_open()
        if self.state.fd < 0:
            raise MisuseError("this ready queue is closed; make another one")
        return self.state.fd

    def take(self, unsigned int limit=1024):
        cdef list tokens = []
        cdef uint64_t token
        while len(tokens) < limit and not self.core.shared.orphaned and ready_take(&self.state, &token):
            tokens.append(token)
        return tokens

    def close(self):
        if not self.core.shared.orphaned:
            ready_shut(&self.state)


@cython.no_gc_clear
cdef class Reader:
    """See the stub (_reader.pyi) for the contract of every method."""

    def __cinit__(self, Topic topic not None, ReadyQueue ready):
        self.closed = True
        self.state.fd = -1
        self.topic = topic
        topic.core.check_open()
        if ready is not None and ready.core is not topic.core:
            raise MisuseError(f"topic {topic.name!r} belongs to another engine than the ready queue; make one for it")
        self.queue = ready
        self.state.topic = &topic.state
        self.state.link.token = add_fetch(&readers_made, 1) << 32 | <uint64_t>READER_LOOP << LOOP_SHIFT
        if ready is not None:
            self.state.ready = &ready.state
        with nogil:
            readers_open(&topic.core.shared.readers, &self.state)
        self.closed = False

    def __dealloc__(self):
        if self.topic is None:
            return
        if not self.closed and not self.topic.core.shared.orphaned:
            readers_close(&self.topic.core.shared.readers, &self.state)
        self.close_notifier()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __repr__(self):
        return f"<Reader of {self.topic.name!r}: next offset {self.offset}, {self.lag_bytes} bytes behind>"

    def close(self):
        if self.closed or self.topic.core.shared.orphaned:
            return
        self.closed = True
        # Counted as one who waits: the last one closes the notifier, and until then it is signalled without the GIL.
        self.waiting += 1
        with nogil:
            readers_close(&self.topic.core.shared.readers, &self.state)
        self.waiting -= 1
        if self.waiting == 0:
            self.close_notifier()
        tell_of_room(&self.topic.core.shared)

    cdef void close_notifier(self) noexcept:
        cdef int fd = self.state.fd
        if fd >= 0:
            self.state.fd = -1
            notifier_close(fd, self.state.signal_fd)

    cdef int check(self) except -1:
        """Raises what there is to say when it has ended."""
        self.check_open()
        if self.look().cause:
            self.check_open()   # it may have been closed meanwhile, which ends it too
            raise too_far_behind(self)
        return 0

    cdef int check_open(self) except -1:
        self.topic.core.check_open()
        if self.closed:
            raise MisuseError("this reader is closed; take another one from the topic's reader()")
        return 0

    # --- reading ---

    def read(self, limit=1024, *, max_bytes=1 << 20):
        cdef uint64_t most = whole("limit", limit)
        cdef uint64_t most_bytes = whole("max_bytes", max_bytes)
        cdef ReadBatch batch
        cdef Begun begun
        cdef bint made_room
        self.check()
        if most == 0:
            raise MisuseError("limit=0 reads nothing; give at least 1")
        with nogil:
            begun = readers_begin(&self.state, &batch)
        if begun == BUSY:
            raise MisuseError("read() is running in another thread; call it from one thread at a time")
        if begun == ENDED:
            self.check()
        if begun == AT_END or begun == ENDED:
            return []
        messages = None
        try:
            messages = copy_out(&batch, self.state.offset, most, most_bytes)
        finally:
            if messages is None:    # of what could not be given nothing was taken
                batch.messages = 0
            with nogil:
                made_room = readers_finish(&self.state, &batch)
        if made_room:
            tell_of_room(&self.topic.core.shared)
        return messages

    # --- waiting ---

    def fileno(self):
        cdef int fd
        self.check()
        fd = readers_fileno(&self.state)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        return fd

    def wait(self, timeout=None):
        cdef uint64_t ends_ns = 0
        cdef int fd = self.fileno()
        if timeout is not None:
            ends_ns = clock_ns() + <uint64_t>(max(0.0, min(<double>timeout, 3.2e9)) * 1e9)
        self.waiting += 1
        try:
            return wait_readable(fd, ends_ns)
        finally:
            self.waiting -= 1
            if self.closed and self.waiting == 0:
                self.close_notifier()

    # --- where it is ---

    cdef ReaderPlace look(self) noexcept:
        cdef ReaderPlace place
        if self.topic.core.shared.orphaned:
            memset(&place, 0, sizeof(place))
        else:
            with nogil:     # appending may have the lock
                place = readers_place(&self.state)
        return place

    @property
    def token(self):
        return self.state.link.token

    @property
    def offset(self):
        return self.look().offset

    @property
    def cause(self):
        return self.look().cause

    @property
    def paced_for_others(self):
        return not self.topic.core.shared.orphaned and readers_paced_for_others(&self.state)

    @property
    def lag_bytes(self):
        cdef ReaderPlace place = self.look()
        return 0 if place.cause else place.lag_bytes


cdef list copy_out(ReadBatch *batch, uint64_t offset, size_t limit, size_t max_bytes):
    """Messages with their offsets: at least one, and no more than are allowed."""
    cdef list messages = []
    cdef size_t taken_bytes = 0
    cdef size_t frame_bytes
    cdef const uint8_t *frame
    while batch.position < batch.until and batch.messages < limit:
        if batch.at == load_acquire(&batch.segment.end):
            batch.segment, batch.at = <Segment *>load_acquire_pointer(&batch.segment.next), 0
            continue
        frame = batch.segment.data + batch.at
        frame_bytes = frame_size_at(frame)
        taken_bytes += frame_bytes
        if messages and taken_bytes > max_bytes:
            break
        messages.append((offset + batch.messages, payload_of(frame, frame_bytes)))
        batch.at += frame_bytes
        batch.position += frame_bytes
        batch.messages += 1
    return messages


cdef object payload_of(const uint8_t *frame, size_t frame_bytes):
    # The length's first byte says how many follow it (RFC 6455 section 5.2).
    cdef size_t header_bytes = 2 if frame[1] < 126 else 4 if frame[1] == 126 else 10
    cdef const char *payload = <const char *>frame + header_bytes
    cdef Py_ssize_t payload_bytes = frame_bytes - header_bytes
    if frame[0] & 0x0F == FRAME_TEXT:
        # Text that is none can come only from partial(), where that is its caller's duty.
        return PyUnicode_DecodeUTF8(payload, payload_bytes, "replace")
    return PyBytes_FromStringAndSize(payload, payload_bytes)


cdef bint wait_readable(int fd, uint64_t ends_ns) except -1:
    """0 for `ends_ns`: for ever. Signals are dealt with, and raise what their handlers raise."""
    cdef pollfd look
    cdef int timeout_ms
    cdef int result
    cdef uint64_t now_ns
    while True:
        timeout_ms = LONGEST_MS
        if ends_ns:
            now_ns = clock_ns()
            timeout_ms = 0 if now_ns >= ends_ns else <int>min((ends_ns - now_ns + 999_999) // 1_000_000, LONGEST_MS)
        look.fd, look.events = fd, POLLIN
        with nogil:
            result = poll(&look, 1, timeout_ms)
        if result > 0:
            return True
        if result < 0 and errno != EINTR:
            raise OSError(errno, os.strerror(errno))
        PyErr_CheckSignals()
        if result == 0 and ends_ns and clock_ns() >= ends_ns:
            return False


cdef void tell_of_room(Shared *shared) noexcept nogil:
    """Memory was given back, or publishers need not wait any more: those who wait for either look again."""
    if pool_short(&shared.pool):
        return
    if load_acquire(&shared.awaiting_memory) and exchange_full(&shared.awaiting_memory, 0):
        loops_nudge(shared, EVERY_LOOP)
    if load_acquire(&shared.room_wanted) and exchange_full(&shared.room_wanted, 0):
        outbox_put(&shared.outbox, EVENT_ROOM, 0, 0, 0, NULL, 0)


cdef object too_far_behind(Reader reader):
    cdef ReaderPlace place = reader.look()
    state = f"the reader of {reader.topic.name!r} was {place.lag_bytes} bytes behind at message {place.offset}"
    if place.cause == CAUSE_MEMORY:
        return TooFarBehind(f"{state}, the farthest when max_memory_bytes={reader.topic.core.shared.pool.limit_bytes} "
                            "was reached; read sooner, or raise the limit")
    limits = [f"max_lag_bytes={reader.state.topic.max_lag_bytes}"]
    if reader.state.topic.max_lag_messages:
        limits.append(f"max_lag_messages={reader.state.topic.max_lag_messages}")
    if reader.state.topic.max_lag_age_ns:
        limits.append(f"max_lag_age={reader.state.topic.max_lag_age_ns / 1e9:g}")
    return TooFarBehind(f"{state}, over {' or '.join(limits)}; read sooner, or raise the bound")

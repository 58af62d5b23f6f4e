"""A topic's log: server frames laid end to end in shared segments (table of contents; rules in _log.pyx)."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "sync.h" nogil:
    ctypedef struct mutex_t:
        pass
    void mutex_init(mutex_t *lock)
    void mutex_destroy(mutex_t *lock)
    void mutex_lock(mutex_t *lock)
    void mutex_unlock(mutex_t *lock)
    uint64_t load_acquire(const uint64_t *word)
    void store_release(uint64_t *word, uint64_t value)
    void *load_acquire_pointer(void *place)
    void store_release_pointer(void *place, void *value)
    uint64_t add_fetch(uint64_t *word, int64_t step)
    uint64_t exchange_full(uint64_t *word, uint64_t value)
    void fence_full()

cdef extern from "frame.h" nogil:
    enum:
        FRAME_TEXT, FRAME_BINARY, FRAME_CLOSE, FRAME_PING, FRAME_PONG, FRAME_HEADER_MAX, FRAME_CONTROL_PAYLOAD_MAX
    size_t frame_header_size(uint64_t payload_bytes)
    size_t frame_write_header(uint8_t *out, uint8_t opcode, uint64_t payload_bytes)
    size_t frame_size_at(const uint8_t *frame)

cdef enum:
    SIZE_CLASSES = 4            # 4, 16, 64 and 256 KiB
    LOOPS_MAX = 16              # I/O threads an engine can have; each counts its own cursors


cdef struct Mark:
    # The frame that holds, or begins at, byte k * MARK_STRIDE of its segment.
    uint32_t at
    uint32_t index
    uint64_t time_ns

cdef struct Segment:
    Segment *next               # release/acquire; set once, when `end` is final
    uint64_t sequence           # place among the segments of its log, from 0
    uint64_t base               # stream position of data[0]
    uint64_t first_offset       # offset of the frame at data[0]
    uint64_t end                # bytes of whole frames; release/acquire
    uint64_t first_time_ns
    uint8_t *data
    Mark *marks                 # NULL in a segment with one message of its own
    size_t capacity
    size_t block_bytes          # what the system or the pool gave
    int size_class              # -1: a block of its own size
    uint32_t frames
    uint32_t pins               # closing sinks in the middle of a frame of it
    bint unlinked               # no longer in its log: the last pin frees it
    uint32_t cursors[LOOPS_MAX]

cdef struct Pool:
    mutex_t lock                # over what is spare
    Segment *spare[SIZE_CLASSES]
    size_t spare_bytes
    size_t spare_unused_bytes   # the least that was spare since the last pool_ease()
    uint64_t used_bytes         # segments in logs, partial messages, lent bytes
    uint64_t limit_bytes

cdef struct Log:
    mutex_t lock                # over all of this; end_position and next_offset are also read without it
    Pool *pool
    Segment *head
    Segment *tail
    uint64_t epoch
    uint64_t next_sequence
    uint64_t end_position       # stream position after the last frame; release/acquire
    uint64_t next_offset        # offset the next message will have; release/acquire

cdef struct Partial:
    # A message still arriving, in the segment that will become part of the log.
    Segment *segment
    size_t payload_bytes

cdef void pool_init(Pool *pool, uint64_t limit_bytes) noexcept nogil
cdef void pool_clear(Pool *pool) noexcept nogil
cdef void pool_release(Pool *pool, Segment *segment) noexcept nogil
cdef void pool_ease(Pool *pool) noexcept nogil
cdef bint pool_allows(Pool *pool, uint64_t more_bytes) noexcept nogil

cdef void log_init(Log *log, Pool *pool, uint64_t epoch) noexcept nogil
cdef void log_clear(Log *log) noexcept nogil
cdef bint log_append(Log *log, uint8_t opcode, const uint8_t *payload, size_t payload_bytes,
                     size_t batch_bytes, uint64_t now_ns) noexcept nogil
cdef bint log_append_partial(Log *log, Partial *partial, uint8_t opcode, uint64_t now_ns) noexcept nogil
cdef void log_count_unseen(Log *log, size_t payload_bytes) noexcept nogil
cdef void log_trim(Log *log, uint64_t keep_from_sequence) noexcept nogil

cdef bint partial_extend(Pool *pool, Partial *partial, const uint8_t *data, size_t data_bytes) noexcept nogil
cdef void partial_drop(Pool *pool, Partial *partial) noexcept nogil

cdef size_t segment_frame_end(Segment *segment, size_t at) noexcept nogil
cdef uint64_t segment_offset_at(Segment *segment, size_t at, uint64_t *time_ns) noexcept nogil

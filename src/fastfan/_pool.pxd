"""The pool of segments and its memory limit (rules in _pool.pyx)."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastfan._sync cimport mutex_t


cdef enum:
    SIZE_CLASSES = 4            # 4, 16, 64 and 256 KiB
    LOOPS_MAX = 16              # I/O threads an engine can have; each counts its own cursors
    MARK_STRIDE = 4096          # one mark a page: a walk from a mark reads at most this many bytes of headers


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
    uint64_t partial_bytes      # of these, messages that are arriving on connections
    uint64_t pinned_bytes       # of these, segments that only sinks in the middle of a frame hold
    uint64_t leaving_bytes      # of these, what will be given back because its sinks had to go for it
    uint64_t limit_bytes

cdef void pool_init(Pool *pool, uint64_t limit_bytes) noexcept nogil
cdef void pool_clear(Pool *pool) noexcept nogil
cdef void pool_release(Pool *pool, Segment *segment) noexcept nogil
cdef void pool_ease(Pool *pool) noexcept nogil
cdef size_t pool_spare_bytes(Pool *pool) noexcept nogil
cdef bint pool_short(Pool *pool) noexcept nogil
cdef bint pool_crowded(Pool *pool) noexcept nogil
cdef bint pool_allows(Pool *pool, uint64_t more_bytes) noexcept nogil
cdef size_t pool_block_bytes(size_t need_bytes, size_t wish_bytes) noexcept nogil
cdef size_t pool_capacity(size_t need_bytes, size_t wish_bytes) noexcept nogil
cdef Segment *pool_take(Pool *pool, size_t need_bytes, size_t wish_bytes) noexcept nogil
cdef size_t class_capacity(int size_class) noexcept nogil
cdef Segment *pool_grow(Pool *pool, Segment *segment, size_t need_bytes, size_t kept_bytes) noexcept nogil
cdef void segment_reset(Segment *segment, int size_class) noexcept nogil

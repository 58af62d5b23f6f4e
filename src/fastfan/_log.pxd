"""A topic's log: server frames laid end to end in shared segments (table of contents; rules in _log.pyx)."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastfan._pool cimport Pool, Segment
from fastfan._sync cimport mutex_t


cdef extern from "frame.h" nogil:
    enum:
        FRAME_TEXT, FRAME_BINARY, FRAME_PING, FRAME_HEADER_MAX
    size_t frame_header_size(uint64_t payload_bytes)
    size_t frame_write_header(uint8_t *out, uint8_t opcode, uint64_t payload_bytes)
    size_t frame_size_at(const uint8_t *frame)

cdef enum Append:
    APPEND_DONE
    APPEND_NOT_TEXT             # a text message that is not UTF-8
    APPEND_NO_MEMORY            # the system has none

cdef struct Log:
    mutex_t lock                # over all of this; end_position and next_offset are also read without it
    Pool *pool
    Segment *head
    Segment *tail
    uint64_t epoch
    uint64_t next_sequence
    uint64_t end_position       # stream position after the last frame; release/acquire
    uint64_t next_offset        # offset the next message will have; release/acquire
    uint64_t stretch_ns         # how much younger than its first frame another of a segment may be; 0: any
    uint64_t held_bytes         # blocks of its segments; release/acquire
    uint64_t floor              # the sequence that was next when the log was last emptied; release/acquire

cdef struct Foresight:
    # What a batch would charge, before any of it is appended.
    size_t block_bytes
    size_t wish_bytes
    size_t left_bytes           # room in the last segment

cdef struct Partial:
    # A message still arriving, in the segment that will become part of the log.
    Segment *segment
    size_t payload_bytes

cdef void log_init(Log *log, Pool *pool, uint64_t epoch) noexcept nogil
cdef void log_clear(Log *log) noexcept nogil
cdef size_t log_wish(Log *log, size_t batch_bytes) noexcept nogil
cdef void log_foresight(Log *log, Foresight *foresight, size_t batch_bytes, uint64_t now_ns) noexcept nogil
cdef void log_retire(Log *log, uint64_t now_ns) noexcept nogil
cdef void log_foresee(Log *log, Foresight *foresight, size_t payload_bytes) noexcept nogil
cdef bint log_append(Log *log, uint8_t opcode, const uint8_t *payload, size_t payload_bytes,
                     size_t wish_bytes, uint64_t now_ns) noexcept nogil
cdef Append log_append_masked(Log *log, uint8_t opcode, const uint8_t *masked, size_t payload_bytes, uint32_t key,
                              size_t wish_bytes, uint64_t now_ns) noexcept nogil
cdef bint log_append_partial(Log *log, Partial *partial, uint8_t opcode, uint64_t now_ns) noexcept nogil
cdef void log_count_unseen(Log *log, size_t payload_bytes) noexcept nogil
cdef void log_count_all_unseen(Log *log, Log *aside) noexcept nogil
cdef void log_splice(Log *log, Log *aside) noexcept nogil
cdef void log_trim(Log *log, uint64_t keep_from_sequence) noexcept nogil

cdef uint8_t *partial_room(Pool *pool, Partial *partial, size_t data_bytes, size_t expected_bytes) noexcept nogil
cdef bint partial_extend(Pool *pool, Partial *partial, const uint8_t *data, size_t data_bytes) noexcept nogil
cdef void partial_drop(Pool *pool, Partial *partial) noexcept nogil

cdef size_t segment_frame_end(Segment *segment, size_t at) noexcept nogil
cdef uint64_t segment_offset_at(Segment *segment, size_t at, uint64_t *time_ns) noexcept nogil

"""Cursors that are read from Python, as the engine sees them (rules in _readers.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._cursor cimport Cause, ReaderHub, ReaderState, TopicState, View
from fastfan._place cimport Place
from fastfan._pool cimport Segment


cdef enum Begun:
    BEGUN           # there is something, and it stays until readers_finish()
    AT_END          # there is nothing
    BUSY            # another thread is reading
    ENDED           # see `cause`

cdef struct ReadBatch:
    # What was there when it began, and how far it was copied.
    Segment *segment
    uint64_t at             # bytes into it
    uint64_t position
    uint64_t until
    uint64_t messages

cdef struct ReaderPlace:
    Cause cause             # CAUSE_NONE while it has not ended
    uint64_t offset
    uint64_t lag_bytes      # now, or when it ended

cdef void readers_init(ReaderHub *hub) noexcept nogil
cdef void readers_clear(ReaderHub *hub) noexcept nogil
# The program's threads:
cdef void readers_open(ReaderHub *hub, ReaderState *reader) noexcept nogil
cdef void readers_close(ReaderHub *hub, ReaderState *reader) noexcept nogil
cdef Begun readers_begin(ReaderState *reader, ReadBatch *batch) noexcept nogil
cdef bint readers_finish(ReaderState *reader, ReadBatch *batch) noexcept nogil
cdef ReaderPlace readers_place(ReaderState *reader) noexcept nogil
cdef bint readers_paced_for_others(ReaderState *reader) noexcept nogil
cdef int readers_fileno(ReaderState *reader) noexcept nogil
cdef void readers_end_all(ReaderHub *hub) noexcept nogil
# Who appends, under the log's lock:
cdef void readers_offer(TopicState *topic) noexcept nogil
# The rules, under the log's lock:
cdef void readers_condemn(ReaderState *reader, Cause cause) noexcept nogil
cdef void readers_locate(ReaderState *reader) noexcept nogil
cdef void readers_jump(ReaderState *reader, Place *to) noexcept nogil


cdef inline View *readers_view(TopicState *topic) noexcept nogil:
    return &topic.views[topic.loops]


cdef inline void readers_note_append(TopicState *topic) noexcept nogil:
    if topic.readers != NULL:
        readers_offer(topic)

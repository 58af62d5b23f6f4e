"""The rest of a frame: its socket has the beginning, and its cursor has jumped, or left.

    log:  ... │ frame │ frame │ frame │ ...
                 ▲▲▲▲▲          ▲
                 rest           cursor, after a jump

The frame has to be finished, or the stream would be broken. So the sink pins its segment, and that alone: the log may
give the segment up meanwhile (`unlinked`), and the last pin gives it back. Such segments count in the pool's
`pinned_bytes`, because they may be what fills the memory (_limits.pyx).
"""

from libc.stdint cimport int64_t, uint64_t

from fastfan._log cimport Log, segment_frame_end
from fastfan._pool cimport Segment, pool_release
from fastfan._sync cimport add_fetch, mutex_lock, mutex_unlock


cdef void rest_pin(Sink *sink) noexcept nogil:
    # Settled. Where there is a rest already, the cursor stands where a frame begins.
    cdef uint64_t frame_end = segment_frame_end(sink.segment, sink.at)
    if frame_end > sink.at:
        sink.segment.pins += 1
        sink.rest, sink.rest_at, sink.rest_end = sink.segment, sink.at, frame_end


cdef bint rest_is_alone(Sink *sink) noexcept nogil:
    """Whether it has one whose segment nobody else needs, but such as it."""
    cdef Log *log = &sink.topic.log
    cdef bint alone
    if sink.rest == NULL:
        return False
    mutex_lock(&log.lock)
    alone = sink.rest.unlinked
    mutex_unlock(&log.lock)
    return alone


cdef void rest_drop(Sink *sink) noexcept nogil:
    """It is sent, or is not going to be."""
    cdef Log *log = &sink.topic.log
    cdef Segment *segment = sink.rest
    if segment == NULL:
        return
    if sink.rest_leaves:
        sink.rest_leaves = False
        add_fetch(&log.pool.leaving_bytes, -<int64_t>segment.block_bytes)
    mutex_lock(&log.lock)
    segment.pins -= 1
    if segment.pins == 0 and segment.unlinked:
        add_fetch(&log.pool.pinned_bytes, -<int64_t>segment.block_bytes)
        pool_release(log.pool, segment)
    mutex_unlock(&log.lock)
    sink.rest = NULL

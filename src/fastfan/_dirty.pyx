"""The loop's own list of views that may have something to send; each is on one list at most (`queued`)."""

from fastfan._mailbox cimport inbox_mark_dirty
from fastfan._sync cimport exchange_full


cdef void dirty_mark(Loop *loop, View *view) noexcept nogil:
    # From the loop itself: no lock and no wake-up.
    if exchange_full(&view.dirty.queued, 1) == 0:
        dirty_add(loop, &view.dirty, &view.dirty)


cdef void dirty_add(Loop *loop, DirtyLink *first, DirtyLink *last) noexcept nogil:
    if first == NULL:
        return
    last.next = NULL
    if loop.dirty == NULL:
        loop.dirty = first
    else:
        loop.dirty_last.next = first
    loop.dirty_last = last


cdef void dirty_mark_all(Loop *loop, TopicState *topic, uint64_t viewers) noexcept nogil:
    """The log has grown: tells every loop with cursors of it. `loop` is the caller's own; NULL: none."""
    cdef uint32_t index
    for index in range(topic.loops):
        if not viewers >> index & 1:
            continue
        if loop != NULL and index == loop.index:
            dirty_mark(loop, &topic.views[index])
        else:
            inbox_mark_dirty(topic.views[index].inbox, &topic.views[index].dirty)

"""The loop's own list of topics that may have something to send; each is on it at most once (`queued`)."""

from fastfan._sync cimport exchange_full


cdef void dirty_mark(Loop *loop, TopicState *topic) noexcept nogil:
    # From the loop itself: no lock and no wake-up.
    if exchange_full(&topic.queued, 1) == 0:
        dirty_add(loop, topic, topic)


cdef void dirty_add(Loop *loop, TopicState *first, TopicState *last) noexcept nogil:
    if first == NULL:
        return
    last.dirty_next = NULL
    if loop.dirty == NULL:
        loop.dirty = first
    else:
        loop.dirty_last.dirty_next = first
    loop.dirty_last = last

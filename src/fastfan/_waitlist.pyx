"""Lists of connections that wait, first in, first out; a connection is on one of them at most (`waits_in`).

Called by the thread of the loop that owns the connections.
"""


cdef void waitlist_add(WaitList *waiting, Sink *sink) noexcept nogil:
    """Puts it last, from wherever it waited before; in that same list it keeps its place."""
    if sink.waits_in == waiting:
        return
    waitlist_remove(sink)
    sink.waits_in = waiting
    sink.wait_next, sink.wait_before = NULL, waiting.last
    if waiting.last == NULL:
        waiting.first = sink
    else:
        waiting.last.wait_next = sink
    waiting.last = sink
    waiting.count += 1


cdef void waitlist_remove(Sink *sink) noexcept nogil:
    """Nothing where it does not wait."""
    cdef WaitList *waiting = sink.waits_in
    if waiting == NULL:
        return
    if sink.wait_before == NULL:
        waiting.first = sink.wait_next
    else:
        sink.wait_before.wait_next = sink.wait_next
    if sink.wait_next == NULL:
        waiting.last = sink.wait_before
    else:
        sink.wait_next.wait_before = sink.wait_before
    waiting.count -= 1
    sink.waits_in = NULL


cdef Sink *waitlist_take(WaitList *waiting) noexcept nogil:
    """The one that has waited longest, which waits no more; NULL: nobody."""
    cdef Sink *sink = waiting.first
    if sink != NULL:
        waitlist_remove(sink)
    return sink

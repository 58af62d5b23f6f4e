"""The fan-out: views whose logs have grown, and the passes over their cursors.

A pass is cut into slices of about a millisecond with a poll between them, and topics take turns, so a big topic does
not hold up a small one: what the poll brings is served ahead of the pass that was cut, and so waits for the rest of one
slice, not for that and another whole one. What is published meanwhile is picked up by those not yet served, in the same
system call; who was served before gets it in the next pass. Called by the I/O thread that owns the views.
"""

from fastfan._connection cimport connection_flush
from fastfan._cursor cimport POLICY_LATEST, Sink, View, view_resolve, view_trim
from fastfan._dirty cimport dirty_add, dirty_mark
from fastfan._lag cimport lag_note_pass, lag_skip_to_newest
from fastfan._limits cimport limits_note_lag, limits_tell_waiting
from fastfan._sync cimport exchange_full, load_acquire, store_release
from fastfan._system cimport clock_ns


cdef enum:
    SLICE_NS = 1_000_000


cdef void fanout_slice(Loop *loop) noexcept nogil:
    """A slice's worth of passes over dirty topics, in turn."""
    cdef uint64_t slice_ends_ns = clock_ns() + SLICE_NS
    if loop.unfinished != NULL:
        dirty_add(loop, &loop.unfinished.dirty, &loop.unfinished.dirty)
        loop.unfinished = NULL
    while loop.dirty != NULL:
        serve_first(loop, slice_ends_ns)
        loop.now_ns = clock_ns()
        if loop.now_ns >= slice_ends_ns:
            break


cdef void serve_first(Loop *loop, uint64_t slice_ends_ns) noexcept nogil:
    """The pass over the first dirty topic, as far as the slice lasts."""
    cdef View *view = <View *>loop.dirty
    cdef Sink *sink
    loop.dirty = view.dirty.next
    # From here on a new message marks the view again; `serving` keeps the topic meanwhile.
    store_release(&view.serving, 1)
    exchange_full(&view.dirty.queued, 0)
    if not view.in_pass:
        begin_pass(loop, view)
    while view.next < view.count:
        sink = view.sinks[view.next]
        view.next += 1
        if sink.blocked and view.topic.policy == POLICY_LATEST:
            lag_skip_to_newest(sink)
        if not sink.blocked:
            connection_flush(loop, sink)
            loop.now_ns = clock_ns()
            if loop.now_ns >= slice_ends_ns:
                break
    if view.next < view.count:
        # As dirty_mark() does it, but for the place: the slice is over, so there is one such view at most.
        if exchange_full(&view.dirty.queued, 1) == 0:
            loop.unfinished = view
    else:
        end_pass(loop, view)
    limits_note_lag(loop, view)
    store_release(&view.serving, 0)


cdef void begin_pass(Loop *loop, View *view) noexcept nogil:
    view.in_pass, view.next, view.again, view.newest.segment = True, 0, False, NULL
    store_release(&view.pass_end, load_acquire(&view.topic.log.end_position))
    view_resolve(view)
    # After `pass_end`, behind a barrier: who waits for it is told now, or saw it before waiting.
    limits_tell_waiting(loop, view)


cdef void fanout_serve_again(Loop *loop, Sink *sink) noexcept nogil:
    """Its socket takes more: the pass under way serves it, or the next one if that has been past it."""
    sink.was_blocked = sink.topic.policy == POLICY_LATEST
    if sink.view.in_pass and sink.view_index < sink.view.next:
        sink.view.again = True
    dirty_mark(loop, sink.view)


cdef void end_pass(Loop *loop, View *view) noexcept nogil:
    cdef uint64_t end_position = load_acquire(&view.topic.log.end_position)
    view.in_pass, view.next = False, 0
    view_trim(view)
    lag_note_pass(view)
    # Who began to wait during the pass may have no other that begins.
    if load_acquire(&view.awaited):
        limits_tell_waiting(loop, view)
    # Whoever was served before the log grew during the pass, or was blocked then, is owed the rest.
    # (Where nobody is left it stays off the list: a topic that is taken for one at rest would be on it again.)
    if view.count and (view.again or (
            end_position != view.pass_end and (view.at_top < view.count or view.top < end_position))):
        dirty_mark(loop, view)
    view.again = False

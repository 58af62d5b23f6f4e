"""A subscriber has no queue: it has a cursor, and is owed what lies between it and the log's end.

How a segment is known to be needed, without asking every cursor:
- A cursor in a view counts in exactly one segment (`Segment.cursors`); crossing into the next one moves the count.
  `view.oldest` is the first segment with a count, so what lies before it can go.
- When every cursor is at the end, the log gives everything back (an idle topic holds no segment). The cursors are not
  visited for that: `view.floor` is raised to the sequence the next segment will have, and a cursor with a lower
  sequence knows by that that its segment is gone and had nothing left for it. Until that next segment exists, the
  cursors `float`; view_resolve() counts them all in it at once.
- A joining cursor (attached, not started) is on the topic's list and holds its segment by its sequence.
- A closing one that stands inside a frame pins that frame's segment, and nothing else.

`view.top` and `view.at_top` tell without a walk whether everybody has everything.
"""

from libc.stdlib cimport realloc

from fastfan._log cimport log_trim, segment_frame_end
from fastfan._pool cimport pool_release
from fastfan._sync cimport load_acquire, load_acquire_pointer, mutex_lock, mutex_unlock

cdef enum:
    LOOP = 0    # the I/O thread whose counts these are; one, until there are more


# --- joining (under the log's lock) ---------------------------------------------------------------------------------

cdef void cursor_join(TopicState *topic, Sink *sink) noexcept nogil:
    """Places the cursor at the log's end: the next message published is the first it will get."""
    sink.segment = topic.log.tail
    sink.sequence = topic.log.next_sequence if topic.log.tail == NULL else topic.log.tail.sequence
    sink.at = 0 if topic.log.tail == NULL else topic.log.tail.end
    sink.position = topic.log.end_position
    sink.joining = True
    sink.joining_before = NULL
    sink.joining_next = topic.joining
    if topic.joining != NULL:
        topic.joining.joining_before = sink
    topic.joining = sink
    topic.listeners += 1


cdef void unlist(TopicState *topic, Sink *sink) noexcept nogil:
    if sink.joining_before == NULL:
        topic.joining = sink.joining_next
    else:
        sink.joining_before.joining_next = sink.joining_next
    if sink.joining_next != NULL:
        sink.joining_next.joining_before = sink.joining_before
    sink.joining = False


cdef void cursor_abandon(TopicState *topic, Sink *sink) noexcept nogil:
    """Undoes cursor_join() for a connection that never started."""
    unlist(topic, sink)
    topic.listeners -= 1


# --- in the view (the I/O thread) -----------------------------------------------------------------------------------

cdef bint cursor_admit(TopicState *topic, Sink *sink) noexcept nogil:
    """Moves a joining cursor into the view. False: the system has no memory, and it is still joining."""
    cdef View *view = &topic.view
    cdef Segment *segment
    cdef Sink **sinks
    if view.count == view.room:
        sinks = <Sink **>realloc(view.sinks, 2 * (view.room + 4) * sizeof(Sink *))
        if sinks == NULL:
            return False
        view.sinks, view.room = sinks, 2 * (view.room + 4)
    mutex_lock(&topic.log.lock)
    unlist(topic, sink)
    segment = sink.segment
    if segment == NULL:
        segment = topic.log.head
        while segment != NULL and segment.sequence < sink.sequence:
            segment = segment.next
    if segment != NULL:
        sink.segment = segment
        segment.cursors[LOOP] += 1
        if view.oldest == NULL or segment.sequence < view.oldest.sequence:
            view.oldest = segment
    else:
        # The log is empty, so everybody in the view floats as well.
        view.floor, view.floor_segment = sink.sequence, NULL
        view.floating += 1
    mutex_unlock(&topic.log.lock)
    sink.view_index = view.count
    sink.in_view = True
    view.sinks[view.count] = sink
    view.count += 1
    note_position(view, sink)
    return True


cdef inline void note_position(View *view, Sink *sink) noexcept nogil:
    if sink.position > view.top:
        view.top, view.at_top = sink.position, 1
    elif sink.position == view.top:
        view.at_top += 1


cdef inline void unnote_position(View *view, Sink *sink) noexcept nogil:
    if sink.position == view.top and view.at_top:
        view.at_top -= 1


cdef void uncount(View *view, Segment *segment) noexcept nogil:
    segment.cursors[LOOP] -= 1
    if segment != view.oldest:
        return
    while view.oldest != NULL and view.oldest.cursors[LOOP] == 0:
        view.oldest = <Segment *>load_acquire_pointer(&view.oldest.next)


cdef void remove_from_view(View *view, Sink *sink) noexcept nogil:
    # A pass may be under way: the hole before `next` is filled from the part already served.
    cdef uint32_t hole = sink.view_index
    cdef uint32_t last = view.count - 1
    if hole < view.next:
        view.next -= 1
        view.sinks[hole] = view.sinks[view.next]
        view.sinks[hole].view_index = hole
        hole = view.next
    view.sinks[hole] = view.sinks[last]
    view.sinks[hole].view_index = hole
    view.count = last
    sink.in_view = False


cdef void cursor_leave(TopicState *topic, Sink *sink, bint keep_frame) noexcept nogil:
    """Takes the cursor out of the view. With `keep_frame` one that stands inside a frame keeps that frame's segment
    until cursor_unpin(); its `boundary` is then the end of that frame, else where it stands."""
    cdef View *view = &topic.view
    cdef uint64_t boundary = sink.position
    cdef Segment *segment
    settle(view, sink)
    segment = sink.segment
    unnote_position(view, sink)
    if keep_frame:
        boundary = cursor_boundary(sink)
    mutex_lock(&topic.log.lock)
    if keep_frame and boundary > sink.position:
        segment.pins += 1
        sink.pinning = True
    topic.listeners -= 1
    if segment != NULL:
        uncount(view, segment)
    else:
        view.floating -= 1
    mutex_unlock(&topic.log.lock)
    sink.boundary = boundary
    if not sink.pinning:
        sink.segment = NULL
    remove_from_view(view, sink)
    view_trim(topic)


cdef void cursor_unpin(TopicState *topic, Sink *sink) noexcept nogil:
    cdef Segment *segment = sink.segment
    mutex_lock(&topic.log.lock)
    segment.pins -= 1
    if segment.pins == 0 and segment.unlinked:
        pool_release(topic.log.pool, segment)
    mutex_unlock(&topic.log.lock)
    sink.pinning = False
    sink.segment = NULL


# --- reading (the I/O thread) ---------------------------------------------------------------------------------------

cdef inline void settle(View *view, Sink *sink) noexcept nogil:
    # See the head of this file: a segment below the floor is gone, and this cursor had read all of it.
    if sink.sequence < view.floor or sink.segment == NULL:
        sink.segment = view.floor_segment
        sink.sequence = view.floor
        sink.at = 0


cdef bint cursor_settle(TopicState *topic, Sink *sink) noexcept nogil:
    """Makes `segment` and `at` valid; False when the log has nothing to stand on, so nothing is owed."""
    if sink.in_view:
        settle(&topic.view, sink)
    return sink.segment != NULL


cdef void view_resolve(TopicState *topic) noexcept nogil:
    """Gives floating cursors the first segment after the log was emptied. Before every pass over the view."""
    cdef View *view = &topic.view
    cdef Segment *segment
    if not view.floating:
        return
    mutex_lock(&topic.log.lock)
    segment = topic.log.head
    while segment != NULL and segment.sequence < view.floor:
        segment = segment.next
    if segment != NULL:
        segment.cursors[LOOP] += view.floating
        view.floor_segment, view.floating = segment, 0
        if view.oldest == NULL or segment.sequence < view.oldest.sequence:
            view.oldest = segment
    mutex_unlock(&topic.log.lock)


cdef void cursor_advance(TopicState *topic, Sink *sink, uint64_t bytes_taken) noexcept nogil:
    """Moves the cursor over bytes the kernel took. It has settled, and the bytes are in the log."""
    cdef View *view = &topic.view
    cdef Segment *segment = sink.segment
    cdef Segment *first = segment
    cdef uint64_t left = sink.at + bytes_taken
    if sink.in_view:
        unnote_position(view, sink)
    sink.position += bytes_taken
    while left > load_acquire(&segment.end):
        left -= segment.end
        segment = <Segment *>load_acquire_pointer(&segment.next)
    sink.at = left
    if segment != first:
        sink.segment, sink.sequence = segment, segment.sequence
        segment.cursors[LOOP] += 1
        uncount(view, first)
    if sink.in_view:
        note_position(view, sink)


cdef uint64_t cursor_boundary(Sink *sink) noexcept nogil:
    """The stream position of the next frame boundary: where the cursor stands, or the end of the frame it is inside."""
    if sink.segment == NULL:
        return sink.position
    return sink.position + segment_frame_end(sink.segment, sink.at) - sink.at


cdef void view_trim(TopicState *topic) noexcept nogil:
    """Gives back what no cursor needs: everything when all are at the end, else what lies before the oldest needed."""
    cdef View *view = &topic.view
    cdef uint64_t keep_from
    cdef Sink *sink
    mutex_lock(&topic.log.lock)
    if topic.joining == NULL and view.at_top == view.count and (view.count == 0 or view.top == topic.log.end_position):
        log_trim(&topic.log, topic.log.next_sequence)
        view.floor, view.floor_segment = topic.log.next_sequence, NULL
        view.floating, view.oldest = view.count, NULL
    else:
        keep_from = topic.log.next_sequence if view.oldest == NULL else view.oldest.sequence
        if view.floating and view.floor < keep_from:
            keep_from = view.floor
        sink = topic.joining
        while sink != NULL:
            keep_from = min(keep_from, sink.sequence)
            sink = sink.joining_next
        log_trim(&topic.log, keep_from)
    mutex_unlock(&topic.log.lock)

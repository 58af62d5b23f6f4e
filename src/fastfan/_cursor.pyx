"""A subscriber has no queue: it has a cursor, and is owed what lies between it and the log's end.

Each pair of a topic and a loop (an I/O thread) has a view: the cursors of that topic which that loop serves.

How a segment is known to be needed, without asking every cursor:
- A cursor in a view counts in exactly one segment (`Segment.cursors`, a count for each loop); crossing into the next
  one moves the count. `view.oldest` is the first segment with a count, so no earlier one is needed by this view.
- view_trim() tells the others: it writes `keep_from` under the log's lock and frees what lies below the least of all.
- When every cursor of every view is at the end, the log gives everything back (an idle topic holds no segment). The
  cursors are not visited for that: `log.floor` is raised to the sequence the next segment will have, and a cursor with
  a lower sequence knows by that that its segment is gone and had nothing left for it. Until that next segment exists,
  the cursors `float`; view_resolve() counts them all in it at once.
- A joining cursor (attached, not started) is on the topic's list and holds its segment by its sequence.
- The rest of a frame, after its cursor has jumped or left, is pinned by the sink: that frame's segment, nothing else.
- Readers in this process have a view of their own, behind those of the loops; _readers.pyx keeps its words.

Another thread may empty the log at any moment at which this view's cursors are all at its end. So a cursor's segment is
looked at only when the cursor is owed something, and after the view has taken notice of the floor: who saw the end
move has seen the floor that was raised before (both are release/acquire), and from then on the log cannot be emptied
until that cursor has gone on. Or under the log's lock.

`view.top` and `view.at_top` tell without a walk whether everybody in the view has everything.
"""

from libc.stdint cimport UINT64_MAX, int64_t
from libc.stdlib cimport realloc

from fastfan._log cimport log_trim, segment_frame_end, segment_offset_at
from fastfan._rest cimport rest_drop, rest_pin
from fastfan._sync cimport (
    add_fetch, count_up, load_acquire, load_acquire_pointer, mutex_lock, mutex_unlock, store_release,
)


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
    store_release(&topic.listeners, topic.listeners + 1)


cdef void unlist(TopicState *topic, Sink *sink) noexcept nogil:
    if sink.joining_before == NULL:
        topic.joining = sink.joining_next
    else:
        sink.joining_before.joining_next = sink.joining_next
    if sink.joining_next != NULL:
        sink.joining_next.joining_before = sink.joining_before
    sink.joining = False


cdef void cursor_abandon(Sink *sink) noexcept nogil:
    """Undoes cursor_join() for a connection that never started."""
    cdef TopicState *topic = sink.topic
    mutex_lock(&topic.log.lock)
    unlist(topic, sink)
    store_release(&topic.listeners, topic.listeners - 1)
    topic_trim(topic)
    mutex_unlock(&topic.log.lock)


# --- in the view (the thread of its loop) ---------------------------------------------------------------------------

cdef bint cursor_admit(Sink *sink) noexcept nogil:
    """Moves a joining cursor into its view. False: the system has no memory, and it is still joining."""
    cdef TopicState *topic = sink.topic
    cdef View *view = sink.view
    if not make_room(view):
        return False
    mutex_lock(&topic.log.lock)
    unlist(topic, sink)
    resolve(view)
    count_in(view, sink)
    view.done = min(view.done, sink.position)
    topic.viewers |= <uint64_t>1 << view.loop
    mutex_unlock(&topic.log.lock)
    sink.view_index = view.count
    sink.in_view = True
    view.sinks[view.count] = sink
    view.count += 1
    note_position(view, sink)
    return True


cdef bint make_room(View *view) noexcept nogil:
    cdef Sink **sinks
    if view.count == view.room:
        sinks = <Sink **>realloc(view.sinks, 2 * (view.room + 4) * sizeof(Sink *))
        if sinks == NULL:
            return False
        view.sinks, view.room = sinks, 2 * (view.room + 4)
    return True


cdef void count_in(View *view, Sink *sink) noexcept nogil:
    # Under the log's lock. Without a segment to stand in the log is empty, so everybody in the view floats.
    cdef Segment *segment = sink.segment
    if segment == NULL:
        segment = view.topic.log.head
        while segment != NULL and segment.sequence < sink.sequence:
            segment = segment.next
    sink.segment = segment
    if segment == NULL:
        view.floating += 1
    else:
        sink.sequence = segment.sequence
        count(view, segment, 1)
    store_release(&view.keep_from, min(view.keep_from, sink.sequence))
    store_release(&view.base, min(view.base, sink.position if segment == NULL else segment.base))


cdef inline void count(View *view, Segment *segment, uint32_t cursors) noexcept nogil:
    segment.cursors[view.loop] += cursors
    if view.oldest == NULL or segment.sequence < view.oldest_sequence:
        view.oldest, view.oldest_sequence = segment, segment.sequence


cdef void uncount(View *view, Segment *segment) noexcept nogil:
    segment.cursors[view.loop] -= 1
    if segment != view.oldest:
        return
    while view.oldest != NULL and view.oldest.cursors[view.loop] == 0:
        view.oldest = <Segment *>load_acquire_pointer(&view.oldest.next)
    if view.oldest != NULL:
        view.oldest_sequence = view.oldest.sequence


cdef inline void note_position(View *view, Sink *sink) noexcept nogil:
    if sink.position > view.top:
        view.top, view.at_top = sink.position, 1
    elif sink.position == view.top:
        view.at_top += 1


cdef inline void unnote_position(View *view, Sink *sink) noexcept nogil:
    if sink.position == view.top and view.at_top:
        view.at_top -= 1


cdef void remove_from_view(View *view, Sink *sink) noexcept nogil:
    # A pass may be under way: the hole before `next` is filled from the part already served.
    cdef uint32_t hole = sink.view_index
    if hole < view.next:
        view.next -= 1
        move_in_view(view, view.next, hole)
        hole = view.next
    view.count -= 1
    move_in_view(view, view.count, hole)
    sink.in_view = False


cdef inline void move_in_view(View *view, uint32_t place, uint32_t hole) noexcept nogil:
    # From `place`, unless that is the hole: then what still stands there has moved before.
    if place != hole:
        view.sinks[hole] = view.sinks[place]
        view.sinks[hole].view_index = hole


cdef void cursor_leave(Sink *sink, bint keep_frame) noexcept nogil:
    """Takes the cursor out of its view. With `keep_frame` what is left of a frame that it stands inside becomes its
    sink's `rest`. Control frames that wait go out behind that, or at once."""
    cdef TopicState *topic = sink.topic
    cdef View *view = sink.view
    mutex_lock(&topic.log.lock)
    resolve(view)
    settle(view, sink)
    if keep_frame and sink.segment != NULL:
        rest_pin(sink)
    store_release(&topic.listeners, topic.listeners - 1)
    if sink.segment != NULL:
        uncount(view, sink.segment)
    else:
        view.floating -= 1
    unnote_position(view, sink)
    remove_from_view(view, sink)
    if view.count == 0:
        topic.viewers &= ~(<uint64_t>1 << view.loop)
    sink.segment = NULL
    sink.boundary = sink.position
    tell_needs(view)
    topic_trim(topic)
    mutex_unlock(&topic.log.lock)
    if not keep_frame:
        rest_drop(sink)


# --- reading (the thread of its loop) -------------------------------------------------------------------------------

cdef inline void settle(View *view, Sink *sink) noexcept nogil:
    # See the head of this file: a segment below the floor is gone, and this cursor had read all of it.
    if sink.sequence < view.floor or sink.segment == NULL:
        sink.segment = view.floor_segment
        sink.sequence = view.floor
        sink.at = 0


cdef bint cursor_settle(Sink *sink) noexcept nogil:
    """Whether the log owes it bytes; then `segment` and `at` are valid until it has gone over all of them."""
    if not sink.in_view:
        return False
    if load_acquire(&sink.topic.log.end_position) == sink.position:
        return False
    view_resolve(sink.view)
    settle(sink.view, sink)
    return sink.segment != NULL


cdef void view_resolve(View *view) noexcept nogil:
    """Takes notice of the log having been emptied, and gives floating cursors the first segment after that."""
    cdef TopicState *topic = view.topic
    if not view.floating and load_acquire(&topic.log.floor) == view.floor:
        return
    mutex_lock(&topic.log.lock)
    resolve(view)
    mutex_unlock(&topic.log.lock)


cdef void resolve(View *view) noexcept nogil:
    # Under the log's lock.
    cdef TopicState *topic = view.topic
    cdef Segment *segment = topic.log.head
    if view.floor != topic.log.floor:
        view.floor, view.floor_segment = topic.log.floor, NULL
        view.floating, view.oldest = view.count, NULL
    if not view.floating:
        return
    while segment != NULL and segment.sequence < view.floor:
        segment = segment.next
    if segment != NULL:
        view.floor_segment = segment
        count(view, segment, view.floating)
        view.floating = 0


cdef void cursor_advance(Sink *sink, uint64_t bytes_taken) noexcept nogil:
    """Moves the cursor over bytes the kernel took. It has settled, and the bytes are in the log."""
    cdef View *view = sink.view
    cdef Segment *segment = sink.segment
    cdef Segment *first = segment
    cdef uint64_t left = sink.at + bytes_taken
    cdef uint64_t end = load_acquire(&segment.end)
    unnote_position(view, sink)
    sink.position += bytes_taken
    while left > end:
        left -= end
        segment = <Segment *>load_acquire_pointer(&segment.next)
        end = load_acquire(&segment.end)
    sink.at = left
    if segment != first:
        sink.segment, sink.sequence = segment, segment.sequence
        segment.cursors[view.loop] += 1
        uncount(view, first)
    note_position(view, sink)


cdef bint cursor_jump(Sink *sink, Place *to) noexcept nogil:
    """Moves the cursor forward to a frame of the log, and counts what it goes over. What is left of the frame that it
    stands inside becomes its sink's `rest`. False: that frame comes next anyway."""
    cdef View *view = sink.view
    cdef Segment *old
    # One that has taken nothing since its last jump stands where a frame begins, and makes no new gap.
    cdef bint goes_on = sink.jumped_offset != 0 and sink.position == sink.jumped_to
    cdef uint64_t frame_end
    if sink.position >= to.position or not cursor_settle(sink):
        return False
    old = sink.segment
    frame_end = sink.at if goes_on else segment_frame_end(old, sink.at)
    if sink.position + frame_end - sink.at >= to.position:
        return False
    count_skip(sink, frame_end, to, goes_on)
    if frame_end > sink.at:
        mutex_lock(&sink.topic.log.lock)
        rest_pin(sink)
        mutex_unlock(&sink.topic.log.lock)
    unnote_position(view, sink)
    sink.segment, sink.sequence, sink.at, sink.position = to.segment, to.segment.sequence, to.at, to.position
    note_position(view, sink)
    if to.segment != old:
        to.segment.cursors[view.loop] += 1
        uncount(view, old)
    # Control frames that wait go out behind the rest, or where they were going out.
    sink.boundary = sink.position
    sink.jumped_to, sink.jumped_offset = to.position, to.offset
    return True


cdef void count_skip(Sink *sink, uint64_t frame_end, Place *to, bint goes_on) noexcept nogil:
    cdef uint64_t next_offset = sink.jumped_offset
    cdef uint64_t time_ns
    if not goes_on:
        next_offset = segment_offset_at(sink.segment, frame_end, &time_ns)
        count_up(&sink.view.skips.gaps, 1)
        add_fetch(&sink.topic.skips.gaps, 1)
    count_up(&sink.view.skips.messages, to.offset - next_offset)
    add_fetch(&sink.topic.skips.messages, <int64_t>(to.offset - next_offset))


cdef uint64_t boundary_of(Sink *sink) noexcept nogil:
    if sink.segment == NULL:
        return sink.position
    return sink.position + segment_frame_end(sink.segment, sink.at) - sink.at


cdef uint64_t cursor_boundary(Sink *sink) noexcept nogil:
    """The stream position of the next frame boundary: where the cursor stands, or the end of the frame it is inside."""
    return boundary_of(sink) if cursor_settle(sink) else sink.position


# --- what all of them need (under the log's lock) -------------------------------------------------------------------

cdef void view_trim(View *view) noexcept nogil:
    """Tells what this view still needs, and gives back what nobody does: everything when all are at the end."""
    mutex_lock(&view.topic.log.lock)
    resolve(view)
    tell_needs(view)
    topic_trim(view.topic)
    resolve(view)
    mutex_unlock(&view.topic.log.lock)


cdef void tell_needs(View *view) noexcept nogil:
    cdef uint64_t keep_from = UINT64_MAX
    cdef uint64_t base = UINT64_MAX
    view.done = UINT64_MAX
    if view.count:
        view.done = view.top if view.at_top == view.count else 0
        keep_from = view.floor if view.floating else view.oldest_sequence
        base = view.top if view.floating else view.oldest.base
    store_release(&view.keep_from, keep_from)
    store_release(&view.base, base)


cdef void topic_trim(TopicState *topic) noexcept nogil:
    """Gives back the segments that no cursor needs: all of them when every cursor is at the end."""
    cdef uint64_t keep_from = topic.log.next_sequence
    cdef bint all_done = topic.joining == NULL
    cdef uint32_t index
    cdef Sink *sink = topic.joining
    for index in range(topic.loops + 1):
        keep_from = min(keep_from, topic.views[index].keep_from)
        all_done = all_done and topic.views[index].done >= topic.log.end_position
    if all_done:
        empty(topic)
        return
    while sink != NULL:
        keep_from = min(keep_from, sink.sequence)
        sink = sink.joining_next
    log_trim(&topic.log, keep_from)


cdef void empty(TopicState *topic) noexcept nogil:
    cdef uint32_t index
    if topic.log.head == NULL:
        return
    log_trim(&topic.log, topic.log.next_sequence)
    store_release(&topic.log.floor, topic.log.next_sequence)
    for index in range(topic.loops + 1):
        if topic.viewers >> index & 1:
            store_release(&topic.views[index].keep_from, topic.log.next_sequence)
            store_release(&topic.views[index].base, topic.log.end_position)


# --- the topic's clients --------------------------------------------------------------------------------------------

cdef void topic_count_client(TopicState *topic, int step, uint64_t now_ns) noexcept nogil:
    """One more, or one fewer. After the last one no loop looks at the topic any more, but for a pass under way."""
    mutex_lock(&topic.log.lock)
    if topic.clients + step == 0:
        store_release(&topic.idle_since_ns, now_ns)
    store_release(&topic.clients, topic.clients + step)
    mutex_unlock(&topic.log.lock)


cdef bint topic_at_rest(TopicState *topic) noexcept nogil:
    """Whether no loop knows it. Without clients nothing makes it known again, so each view is first seen off the list
    and then not served; in that order, since serving begins before it leaves the list."""
    cdef uint32_t index
    if load_acquire(&topic.clients):
        return False
    # Who counted the last one out may still be in the unlocking: it must be done before the lock can be destroyed.
    mutex_lock(&topic.log.lock)
    mutex_unlock(&topic.log.lock)
    for index in range(topic.loops):
        if load_acquire(&topic.views[index].dirty.queued) or load_acquire(&topic.views[index].serving):
            return False
    return True

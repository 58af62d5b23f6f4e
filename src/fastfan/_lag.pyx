"""What happens to the slow, and to those who publish faster than anybody reads.

- Too far behind: its socket is full, and its lag over the topic's max_lag_bytes, max_lag_messages or max_lag_age:
  doomed, the loop condemns it.
- Paced: while half or more of the moving subscribers lag over pace_lag_bytes, the topic's publishers are not read.
  Moving: it took a byte within the last second, so one that stalls, or joins, does not hold up the others.
  A duplex client's own cursor never stops its own socket: it could not empty what it fills.
- Between two reviews publishers may add a quarter of what lies between the two bounds, where somebody may lag at all:
  so whoever is to be paced is, before anyone is too far behind.

A review walks the view, so it is rationed: never sooner than REVIEW_EVERY_NS, and never more than a twentieth of the
time. Until then nothing can be over a bound that the log's whole span is not over.

Each loop reviews its own views and publishes what it counted; a topic is paced by the sums over its views. Called by
the thread of the view's loop; of other views only the words are read that are there for that.
"""

from libc.stdint cimport UINT64_MAX

from fastfan._cursor cimport OPEN, ROLE_SUBSCRIBER, TopicState, cursor_settle, view_resolve
from fastfan._log cimport segment_offset_at
from fastfan._pool cimport Segment
from fastfan._sync cimport (
    load_acquire, load_acquire_pointer, mutex_lock, mutex_unlock, set_bits_full, store_release,
)


cdef extern from "clock.h" nogil:
    uint64_t clock_ns()

cdef enum:
    REVIEW_EVERY_NS = 1_000_000
    REVIEW_SHARE = 20
    MOVING_NS = 1_000_000_000
    LEAST_GROWTH = 65536        # a chunk: a publisher is always read before it is judged


cdef inline uint64_t lag_bytes(View *view, Sink *sink) noexcept nogil:
    return load_acquire(&view.topic.log.end_position) - sink.position


cdef uint64_t lag_span(View *view) noexcept nogil:
    """More than any cursor of the view can lag: what the log holds from the oldest segment that one stands in. Of any
    view, by any thread."""
    cdef uint64_t base = load_acquire(&view.base)
    return 0 if base == UINT64_MAX else load_acquire(&view.topic.log.end_position) - base


cdef bint lag_needs_no_review(View *view) noexcept nogil:
    """Whether publishers may go on for what this view holds, however long ago it was reviewed."""
    return lag_span(view) <= min(view.topic.pace_lag_bytes, view.topic.max_lag_bytes)


cdef bint lag_review_due(View *view, uint64_t now_ns) noexcept nogil:
    cdef TopicState *topic = view.topic
    cdef uint64_t least = min(topic.pace_lag_bytes, topic.max_lag_bytes)
    cdef bint paced = load_acquire(&topic.paced)
    if topic.max_lag_messages or topic.max_lag_age_ns:
        least = 0
    if paced and view.lagging and view.at_top == view.count:
        return True
    return now_ns >= view.review_at_ns and (paced or lag_span(view) > least)


cdef Segment *first_owed(Sink *sink, uint64_t *at) noexcept nogil:
    """Where the first byte it does not have lies."""
    cdef Segment *segment
    if not cursor_settle(sink):
        return NULL
    segment, at[0] = sink.segment, sink.at
    if at[0] >= load_acquire(&segment.end):
        segment, at[0] = <Segment *>load_acquire_pointer(&segment.next), 0
    return segment


cdef bint too_far_behind(View *view, Sink *sink, uint64_t lag, uint64_t now_ns) noexcept nogil:
    cdef TopicState *topic = view.topic
    cdef uint64_t at = 0
    cdef uint64_t offset
    cdef uint64_t time_ns = 0
    cdef Segment *segment
    if not sink.blocked:
        return False    # it has not been offered what it lags; that is our slowness, not its own
    if lag > topic.max_lag_bytes:
        return True
    if lag == 0 or not (topic.max_lag_messages or topic.max_lag_age_ns):
        return False
    segment = first_owed(sink, &at)
    if segment == NULL:
        return False
    offset = segment_offset_at(segment, at, &time_ns)
    if topic.max_lag_messages and load_acquire(&topic.log.next_offset) - offset > topic.max_lag_messages:
        return True
    return topic.max_lag_age_ns != 0 and time_ns != 0 and time_ns + topic.max_lag_age_ns < now_ns


cdef bint lag_review(View *view, uint64_t now_ns, Sink **doomed) noexcept nogil:
    """Counts who moves and who lags, decides on pacing, and adds those too far behind to `doomed`. True: the topic's
    publishers need not wait any more."""
    cdef TopicState *topic = view.topic
    cdef uint64_t began_ns = clock_ns()     # `now_ns` may be of before much reading
    cdef uint64_t moving = 0
    cdef uint64_t lagging = 0
    cdef uint64_t lag
    cdef uint32_t index
    cdef Sink *sink
    view_resolve(view)
    for index in range(view.count):
        sink = view.sinks[index]
        lag = lag_bytes(view, sink)
        sink.moving = now_ns - sink.took_ns < MOVING_NS
        sink.lagging = sink.moving and lag > topic.pace_lag_bytes
        moving += sink.moving
        lagging += sink.lagging
        if sink.state == OPEN and not sink.doomed and too_far_behind(view, sink, lag, now_ns):
            sink.doomed = True
            sink.doomed_next = doomed[0]
            doomed[0] = sink
    store_release(&view.reviewed_end, load_acquire(&topic.log.end_position))
    view.review_at_ns = now_ns + max(<uint64_t>REVIEW_EVERY_NS, REVIEW_SHARE * (clock_ns() - began_ns))
    return decide_pacing(view, moving, lagging)


cdef void lag_note_pass(View *view) noexcept nogil:
    """Everybody was served. Where nobody can lag no review is due; for the sums of other loops, all of them moved. But
    those who lagged at the last review are left to the next one, which tells the publishers that wait."""
    if view.topic.loops > 1 and not view.lagging and lag_span(view) <= view.topic.pace_lag_bytes:
        store_release(&view.moving, view.count)


cdef bint lag_forget(View *view) noexcept nogil:
    """Nobody is left in the view. True: as lag_review() says."""
    return decide_pacing(view, 0, 0)


cdef bint decide_pacing(View *view, uint64_t moving, uint64_t lagging) noexcept nogil:
    """With what this view counted. Under a lock: who decides last has the counts of all, and its word stands."""
    cdef TopicState *topic = view.topic
    cdef bint may_go_on
    mutex_lock(&topic.log.lock)
    store_release(&view.moving, moving)
    store_release(&view.lagging, lagging)
    may_go_on = lag_decide_pacing(topic)
    mutex_unlock(&topic.log.lock)
    return may_go_on


cdef bint lag_decide_pacing(TopicState *topic) noexcept nogil:
    """By the sums of all views; under the log's lock. True: as lag_review() says."""
    cdef uint64_t moving = 0
    cdef uint64_t lagging = 0
    cdef bint before = topic.paced != 0
    cdef bint paced
    sum_views(topic, &moving, &lagging)
    paced = lagging > 0 and 2 * lagging >= moving
    store_release(&topic.paced, paced)
    return before and not paced


cdef inline void sum_views(TopicState *topic, uint64_t *moving, uint64_t *lagging) noexcept nogil:
    cdef uint32_t index
    for index in range(topic.loops + 1):
        moving[0] += load_acquire(&topic.views[index].moving)
        lagging[0] += load_acquire(&topic.views[index].lagging)


cdef inline bint has_outgrown_review(TopicState *topic, uint64_t waiter) noexcept nogil:
    cdef uint64_t end_position = load_acquire(&topic.log.end_position)
    cdef uint64_t least = min(topic.pace_lag_bytes, topic.max_lag_bytes)
    cdef uint64_t growth = max((topic.max_lag_bytes - least) // 4, <uint64_t>LEAST_GROWTH)
    cdef uint32_t index
    cdef View *view
    for index in range(topic.loops):
        view = &topic.views[index]
        if end_position - load_acquire(&view.reviewed_end) <= growth or lag_span(view) <= least:
            continue
        # Whoever reviews it, or sees that none is needed, tells this loop; but it may have done so just now.
        set_bits_full(&view.awaited, waiter)
        if end_position - load_acquire(&view.reviewed_end) > growth and lag_span(view) > least:
            return True
    return False


cdef bint lag_holds(Sink *publisher) noexcept nogil:
    """Whether this publisher is to wait: its topic is paced, its own cursor left aside."""
    cdef TopicState *topic = publisher.topic
    cdef uint64_t moving = 0
    cdef uint64_t lagging = 0
    if not load_acquire(&topic.paced):
        return has_outgrown_review(topic, <uint64_t>1 << publisher.loop)
    sum_views(topic, &moving, &lagging)
    if publisher.role & ROLE_SUBSCRIBER and publisher.in_view:
        moving -= min(moving, <uint64_t>publisher.moving)
        lagging -= min(lagging, <uint64_t>publisher.lagging)
    return lagging > 0 and 2 * lagging >= moving


cdef Sink *lag_farthest(View *view) noexcept nogil:
    """The open cursor that is farthest behind, of those that were offered what they lag; NULL when nobody lags."""
    cdef Sink *farthest = NULL
    cdef uint32_t index
    for index in range(view.count):
        if view.sinks[index].state != OPEN or not view.sinks[index].blocked or lag_bytes(view, view.sinks[index]) == 0:
            continue
        if farthest == NULL or view.sinks[index].position < farthest.position:
            farthest = view.sinks[index]
    return farthest

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

Called by the I/O thread that owns the view.
"""

from fastfan._cursor cimport OPEN, ROLE_SUBSCRIBER, View, view_resolve
from fastfan._log cimport segment_offset_at
from fastfan._pool cimport Segment
from fastfan._sync cimport load_acquire, load_acquire_pointer


cdef extern from "clock.h" nogil:
    uint64_t clock_ns()

cdef enum:
    REVIEW_EVERY_NS = 1_000_000
    REVIEW_SHARE = 20
    MOVING_NS = 1_000_000_000
    LEAST_GROWTH = 65536        # a chunk: a publisher is always read before it is judged


cdef inline uint64_t lag_bytes(TopicState *topic, Sink *sink) noexcept nogil:
    return load_acquire(&topic.log.end_position) - sink.position


cdef uint64_t lag_span(TopicState *topic) noexcept nogil:
    """More than any cursor of the view can lag: what the log holds from the oldest segment that one stands in."""
    cdef View *view = &topic.view
    if view.oldest != NULL:
        return load_acquire(&topic.log.end_position) - view.oldest.base
    # Floating cursors stand at `top`.
    return load_acquire(&topic.log.end_position) - view.top if view.floating else 0


cdef bint lag_review_due(TopicState *topic, uint64_t now_ns) noexcept nogil:
    cdef View *view = &topic.view
    cdef uint64_t least = min(topic.pace_lag_bytes, topic.max_lag_bytes)
    if topic.max_lag_messages or topic.max_lag_age_ns:
        least = 0
    if view.paced and view.at_top == view.count:
        return True
    return now_ns >= view.review_at_ns and (view.paced or lag_span(topic) > least)


cdef Segment *first_owed(TopicState *topic, Sink *sink, uint64_t *at) noexcept nogil:
    """Where the first byte it does not have lies; the cursor itself stays where it is."""
    cdef Segment *segment = sink.segment
    at[0] = sink.at
    if sink.sequence < topic.view.floor or segment == NULL:
        segment, at[0] = topic.view.floor_segment, 0
    if segment != NULL and at[0] >= load_acquire(&segment.end):
        segment, at[0] = <Segment *>load_acquire_pointer(&segment.next), 0
    return segment


cdef bint too_far_behind(TopicState *topic, Sink *sink, uint64_t lag, uint64_t now_ns) noexcept nogil:
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
    segment = first_owed(topic, sink, &at)
    if segment == NULL:
        return False
    offset = segment_offset_at(segment, at, &time_ns)
    if topic.max_lag_messages and load_acquire(&topic.log.next_offset) - offset > topic.max_lag_messages:
        return True
    return topic.max_lag_age_ns != 0 and time_ns != 0 and time_ns + topic.max_lag_age_ns < now_ns


cdef void lag_review(TopicState *topic, uint64_t now_ns, Sink **doomed) noexcept nogil:
    """Counts who moves and who lags, decides on pacing, and adds those too far behind to `doomed`."""
    cdef View *view = &topic.view
    cdef uint64_t began_ns = clock_ns()     # `now_ns` may be of before much reading
    cdef uint64_t lag
    cdef uint32_t index
    cdef Sink *sink
    view_resolve(topic)
    view.moving = view.lagging = 0
    for index in range(view.count):
        sink = view.sinks[index]
        lag = lag_bytes(topic, sink)
        sink.moving = now_ns - sink.took_ns < MOVING_NS
        sink.lagging = sink.moving and lag > topic.pace_lag_bytes
        view.moving += sink.moving
        view.lagging += sink.lagging
        if sink.state == OPEN and not sink.doomed and too_far_behind(topic, sink, lag, now_ns):
            sink.doomed = True
            sink.doomed_next = doomed[0]
            doomed[0] = sink
    view.paced = view.lagging > 0 and 2 * view.lagging >= view.moving
    view.reviewed_end = load_acquire(&topic.log.end_position)
    view.review_at_ns = now_ns + max(<uint64_t>REVIEW_EVERY_NS, REVIEW_SHARE * (clock_ns() - began_ns))


cdef inline bint has_outgrown_review(TopicState *topic) noexcept nogil:
    cdef uint64_t end_position = load_acquire(&topic.log.end_position)
    cdef uint64_t least = min(topic.pace_lag_bytes, topic.max_lag_bytes)
    cdef uint64_t between = topic.max_lag_bytes - least
    return end_position - topic.view.reviewed_end > max(between // 4, <uint64_t>LEAST_GROWTH) and (
        lag_span(topic) > least)


cdef bint lag_holds(TopicState *topic, Sink *publisher) noexcept nogil:
    """Whether this publisher is to wait: its topic is paced, its own cursor left aside."""
    cdef View *view = &topic.view
    cdef uint32_t moving = view.moving
    cdef uint32_t lagging = view.lagging
    if not view.paced:
        return has_outgrown_review(topic)
    if publisher.role & ROLE_SUBSCRIBER and publisher.in_view:
        moving -= publisher.moving
        lagging -= publisher.lagging
    return lagging > 0 and 2 * lagging >= moving


cdef Sink *lag_farthest(TopicState *topic) noexcept nogil:
    """The open cursor that is farthest behind; NULL when nobody lags."""
    cdef View *view = &topic.view
    cdef Sink *farthest = NULL
    cdef uint32_t index
    for index in range(view.count):
        if view.sinks[index].state != OPEN or lag_bytes(topic, view.sinks[index]) == 0:
            continue
        if farthest == NULL or view.sinks[index].position < farthest.position:
            farthest = view.sinks[index]
    return farthest

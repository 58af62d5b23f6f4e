"""What happens to the slow, and to those who publish faster than anybody reads.

- Too far behind: its socket is full, and its lag over the topic's max_lag_bytes, max_lag_messages or max_lag_age.
  Then, by the topic's policy: `disconnect` dooms it, and the loop condemns it; `skip` makes it jump to the oldest
  message within the bounds; `block` does nothing to it. Under `latest` there are no bounds: whose socket is full jumps
  to the newest message in each pass, and once more when there is room again.
- Paced: while half or more of the moving subscribers lag over pace_lag_bytes, the topic's publishers are not read;
  under `block` also while a single one is over the bounds; under `latest` never.
  Moving: it took a byte within the last second, so one that stalls, or joins, does not hold up the others.
  A duplex client's own cursor never stops its own socket: it could not empty what it fills.
- Between two reviews publishers may add a quarter of what lies between the two bounds, where somebody may lag at all:
  so whoever is to be paced is, before anyone is too far behind.

While this process stands still nobody can read: a message of before a pause is as old as the time since its end.

A review walks the view, so it is rationed: never sooner than REVIEW_EVERY_NS unless a publisher waits for it, and never
more than a twentieth of the time. Until then nothing can be over a bound that the log's whole span is not over. But who
lagged and has caught up, or has left, is seen at once: publishers wait for no review to hear that they may go on.

Each loop reviews its own views and publishes what it counted; a topic is paced by the sums over its views. Called by
the thread of the view's loop; of other views only the words are read that are there for that.
"""

from libc.stdint cimport UINT64_MAX
from libc.string cimport memset

from fastfan._cursor cimport (
    OPEN, POLICY_BLOCK, POLICY_DISCONNECT, POLICY_LATEST, POLICY_SKIP, ROLE_SUBSCRIBER, TopicState, cursor_jump,
    cursor_settle, view_resolve, view_trim,
)
from fastfan._log cimport Log, segment_offset_at
from fastfan._place cimport Place, place_newest, place_oldest
from fastfan._mailbox cimport inbox_nudge
from fastfan._pool cimport Segment
from fastfan._sync cimport (
    exchange_full, load_acquire, load_acquire_pointer, mutex_lock, mutex_unlock, set_bits_full, store_release,
)
from fastfan._system cimport clock_ns


cdef enum:
    REVIEW_EVERY_NS = 1_000_000
    REVIEW_SHARE = 20
    MOVING_NS = 1_000_000_000
    LEAST_GROWTH = 65536        # a chunk: a publisher is always read before it is judged

cdef struct Tally:
    # How many cursors.
    uint64_t moving
    uint64_t lagging
    uint64_t over


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
    if topic.policy == POLICY_LATEST:
        return False
    if topic.max_lag_messages or topic.max_lag_age_ns:
        least = 0
    if paced and (view.lagging or view.over) and view.at_top == view.count:
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


cdef bint is_over(View *view, Sink *sink, uint64_t lag, uint64_t now_ns) noexcept nogil:
    """Whether its lag is over one of the topic's bounds."""
    cdef TopicState *topic = view.topic
    cdef uint64_t at = 0
    cdef uint64_t offset
    cdef uint64_t time_ns = 0
    cdef Segment *segment
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
    return lag_is_too_old(view, time_ns, now_ns)


cdef bint lag_is_too_old(View *view, uint64_t time_ns, uint64_t now_ns) noexcept nogil:
    """Whether a message of then (0: nobody knows) is over the topic's bound for ages."""
    cdef uint64_t most_ns = view.topic.max_lag_age_ns
    return most_ns != 0 and time_ns != 0 and max(time_ns, view.ages_from_ns) + most_ns < now_ns


cdef struct Review:
    # One look at a view.
    uint64_t now_ns
    Sink **doomed
    Place target                # where all who skip go on, once the first of them does
    bint jumped
    Tally tally


cdef bint lag_review(View *view, uint64_t now_ns, Sink **doomed) noexcept nogil:
    """Counts who moves and who lags, decides on pacing, and deals with those too far behind: makes them jump, or adds
    them to `doomed`. True: the topic's publishers need not wait any more."""
    cdef uint64_t began_ns = clock_ns()     # `now_ns` may be of before much reading
    cdef uint32_t index
    cdef Review review
    memset(&review, 0, sizeof(Review))
    review.now_ns, review.doomed = now_ns, doomed
    view_resolve(view)
    for index in range(view.count):
        judge(view, view.sinks[index], &review)
    if review.jumped:
        view_trim(view)
    store_release(&view.reviewed_end, load_acquire(&view.topic.log.end_position))
    view.review_asked_ns = now_ns + REVIEW_SHARE * (clock_ns() - began_ns)
    view.review_at_ns = max(now_ns + REVIEW_EVERY_NS, view.review_asked_ns)
    return decide_pacing(view, &review.tally)


cdef inline void judge(View *view, Sink *sink, Review *review) noexcept nogil:
    cdef TopicState *topic = view.topic
    cdef uint64_t lag = lag_bytes(view, sink)
    # One with room in its socket has not been offered what it lags: that is our slowness, not its own.
    cdef bint was_offered = sink.blocked and sink.state == OPEN and not sink.doomed
    if was_offered and topic.policy == POLICY_SKIP and is_over(view, sink, lag, review.now_ns):
        skip(view, sink, review)
        lag = lag_bytes(view, sink)
    elif was_offered and topic.policy == POLICY_DISCONNECT and is_over(view, sink, lag, review.now_ns):
        sink.doomed = True
        sink.doomed_next = review.doomed[0]
        review.doomed[0] = sink
    sink.moving = review.now_ns - sink.took_ns < MOVING_NS
    sink.lagging = sink.moving and lag > topic.pace_lag_bytes
    sink.over = topic.policy == POLICY_BLOCK and sink.moving and is_over(view, sink, lag, review.now_ns)
    review.tally.moving += sink.moving
    review.tally.lagging += sink.lagging
    review.tally.over += sink.over


cdef void skip(View *view, Sink *sink, Review *review) noexcept nogil:
    cdef TopicState *topic = view.topic
    cdef Least least
    if review.target.segment == NULL:
        mutex_lock(&topic.log.lock)
        least = lag_least(view, review.now_ns)
        place_oldest(&topic.log, &least, &review.target)
        mutex_unlock(&topic.log.lock)
    if cursor_jump(sink, &review.target):
        review.jumped = True


cdef Least lag_least(View *view, uint64_t now_ns) noexcept nogil:
    """What a message has that is within the bounds."""
    cdef TopicState *topic = view.topic
    cdef Least least
    least.position = topic.log.end_position - min(topic.log.end_position, topic.max_lag_bytes)
    least.offset = least.time_ns = 0
    if topic.max_lag_messages:
        least.offset = topic.log.next_offset - min(topic.log.next_offset, topic.max_lag_messages)
    if topic.max_lag_age_ns:
        least.time_ns = now_ns - min(now_ns, topic.max_lag_age_ns)
        if view.ages_from_ns >= least.time_ns:
            least.time_ns = 0       # of before the pause all are young
    return least


cdef void lag_skip_to_newest(Sink *sink) noexcept nogil:
    """Under `latest`, for one whose socket is full, or was until now."""
    cdef Log *log = &sink.topic.log
    cdef View *view = sink.view
    if sink.state != OPEN or not sink.in_view or sink.position == load_acquire(&log.end_position):
        return
    # One that is to be sent something now wants the newest of now, the others that of when the pass began.
    if view.newest.segment == NULL or (sink.was_blocked and view.newest_end != load_acquire(&log.end_position)):
        mutex_lock(&log.lock)
        view.newest_end = log.end_position
        if not place_newest(log, &view.newest):
            view.newest.segment = NULL
        mutex_unlock(&log.lock)
    if view.newest.segment != NULL:
        cursor_jump(sink, &view.newest)


# --- pacing ---------------------------------------------------------------------------------------------------------

cdef void lag_note_pass(View *view) noexcept nogil:
    """Everybody was served. Where nobody can lag no review is due; for the sums of other loops, all of them moved. But
    those who lagged at the last review are left to the next one, which tells the publishers that wait."""
    if view.topic.loops > 1 and not view.lagging and not view.over and lag_span(view) <= view.topic.pace_lag_bytes:
        store_release(&view.moving, view.count)


cdef bint decide_pacing(View *view, Tally *counted) noexcept nogil:
    """With what this view counted. Under a lock: who decides last has the counts of all, and its word stands."""
    cdef TopicState *topic = view.topic
    cdef bint may_go_on
    cdef bint fewer = counted.lagging < view.lagging or counted.over < view.over
    mutex_lock(&topic.log.lock)
    store_release(&view.moving, counted.moving)
    store_release(&view.lagging, counted.lagging)
    store_release(&view.over, counted.over)
    may_go_on = lag_decide_pacing(topic, fewer)
    mutex_unlock(&topic.log.lock)
    return may_go_on


cdef bint lag_decide_pacing(TopicState *topic, bint fewer) noexcept nogil:
    """By the sums of all views; under the log's lock. `fewer` lag than before. True: as lag_review() says, of all
    publishers, or of one that has nobody but itself to wait for."""
    cdef bint before = topic.paced != 0
    cdef bint paced
    cdef Tally tally
    sum_views(topic, &tally)
    paced = is_paced(topic, &tally)
    store_release(&topic.paced, paced)
    return before and (not paced or (fewer and not lag_paced_without(topic, True, True, True)))


cdef bint lag_catches_up(Sink *sink, uint64_t now_ns) noexcept nogil:
    """It was sent something. True: as lag_review() says."""
    cdef View *view = sink.view
    cdef uint64_t lag = lag_bytes(view, sink)
    cdef Tally counted
    counted.moving, counted.lagging, counted.over = view.moving, view.lagging, view.over
    if sink.lagging and lag <= view.topic.pace_lag_bytes:
        sink.lagging = False
        counted.lagging -= 1
    if sink.over and not is_over(view, sink, lag, now_ns):
        sink.over = False
        counted.over -= 1
    if counted.lagging == view.lagging and counted.over == view.over:
        return False
    return decide_pacing(view, &counted)


cdef bint lag_leaves(Sink *sink) noexcept nogil:
    """It is in its view no more, and counts no more. True: as lag_review() says."""
    cdef View *view = sink.view
    cdef Tally counted
    memset(&counted, 0, sizeof(Tally))
    if view.count:
        counted.moving = view.moving - min(view.moving, <uint64_t>sink.moving)
        counted.lagging = view.lagging - sink.lagging
        counted.over = view.over - sink.over
    sink.moving = sink.lagging = sink.over = False
    if counted.lagging == view.lagging and counted.over == view.over:
        store_release(&view.moving, counted.moving)
        return False
    return decide_pacing(view, &counted)


cdef inline bint is_paced(TopicState *topic, Tally *tally) noexcept nogil:
    if topic.policy == POLICY_LATEST:
        return False
    return tally.over > 0 or (tally.lagging > 0 and 2 * tally.lagging >= tally.moving)


cdef inline void sum_views(TopicState *topic, Tally *tally) noexcept nogil:
    cdef uint32_t index
    tally.moving = tally.lagging = tally.over = 0
    for index in range(topic.loops + 1):
        tally.moving += load_acquire(&topic.views[index].moving)
        tally.lagging += load_acquire(&topic.views[index].lagging)
        tally.over += load_acquire(&topic.views[index].over)


cdef inline bint has_outgrown_review(TopicState *topic, uint64_t waiter) noexcept nogil:
    cdef uint64_t end_position = load_acquire(&topic.log.end_position)
    cdef uint64_t least = min(topic.pace_lag_bytes, topic.max_lag_bytes)
    cdef uint64_t growth = max((topic.max_lag_bytes - least) // 4, <uint64_t>LEAST_GROWTH)
    cdef uint32_t index
    cdef View *view
    if topic.policy == POLICY_LATEST:
        return False
    for index in range(topic.loops):
        view = &topic.views[index]
        if end_position - load_acquire(&view.reviewed_end) <= growth or lag_span(view) <= least:
            continue
        # Whoever reviews it, or sees that none is needed, tells this loop; but it may have done so just now.
        set_bits_full(&view.awaited, waiter)
        if end_position - load_acquire(&view.reviewed_end) > growth and lag_span(view) > least:
            # It may not be due by itself, and a pass that would find it so may never come: nothing is published.
            if exchange_full(&view.inbox.review_asked, 1) == 0:
                inbox_nudge(view.inbox)
            return True
    return False


cdef bint lag_holds(Sink *publisher) noexcept nogil:
    """Whether this publisher is to wait: its topic is paced, its own cursor left aside."""
    cdef TopicState *topic = publisher.topic
    if not load_acquire(&topic.paced):
        return has_outgrown_review(topic, <uint64_t>1 << publisher.loop)
    if publisher.role & ROLE_SUBSCRIBER and publisher.in_view:
        return lag_paced_without(topic, publisher.moving, publisher.lagging, publisher.over)
    return lag_paced_without(topic, False, False, False)


cdef bint lag_paced_without(TopicState *topic, bint moving, bint lagging, bint over) noexcept nogil:
    """Whether publishers would wait if there were not this one, which counts as it says."""
    cdef Tally tally
    sum_views(topic, &tally)
    tally.moving -= min(tally.moving, <uint64_t>moving)
    tally.lagging -= min(tally.lagging, <uint64_t>lagging)
    tally.over -= min(tally.over, <uint64_t>over)
    return is_paced(topic, &tally)


# --- the memory limit -----------------------------------------------------------------------------------------------

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

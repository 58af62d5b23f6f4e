"""The lag rules for readers in this process, and their part at the memory limit (what a reader is: _readers.pyx).

They are judged when something is appended, by who appends, under the log's lock. A review walks the readers, so it is
rationed as _lag.pyx rations its own; but a bound is kept to a quarter of itself, however fast the log grows. Ticks
review them too: publishers may wait for a reader that has stopped reading, and then nothing is appended.
"""

from fastfan._cursor cimport (
    CAUSE_MEMORY, CAUSE_TOO_FAR_BEHIND, POLICY_BLOCK, POLICY_DISCONNECT, POLICY_SKIP, View,
)
from fastfan._lag cimport lag_decide_pacing, lag_is_too_old, lag_least, lag_span
from fastfan._log cimport segment_offset_at
from fastfan._place cimport Least, Place, place_newest, place_oldest
from fastfan._readers cimport readers_condemn, readers_jump, readers_locate, readers_view
from fastfan._sync cimport load_acquire, load_acquire_pointer, mutex_lock, mutex_unlock, store_release
from fastfan._system cimport clock_ns


cdef enum:
    REVIEW_EVERY_NS = 1_000_000
    REVIEW_SHARE = 20
    REVIEW_EVERY_BYTES = 262144
    MOVING_NS = 1_000_000_000


# --- the lag rules --------------------------------------------------------------------------------------------------

cdef bint readers_review_due(TopicState *topic) noexcept nogil:
    cdef View *view = readers_view(topic)
    cdef uint64_t least = min(topic.pace_lag_bytes, topic.max_lag_bytes)
    if topic.max_lag_messages or topic.max_lag_age_ns:
        least = 0
    if lag_span(view) <= least:
        return False
    if topic.log.end_position - view.reviewed_end > min(<uint64_t>REVIEW_EVERY_BYTES, topic.max_lag_bytes // 4):
        return True
    return clock_ns() >= view.review_at_ns


cdef bint readers_review(TopicState *topic, uint64_t now_ns) noexcept nogil:
    """Counts who moves and who lags, deals with those too far behind, decides on pacing. True: publishers need not wait
    any more. Under the log's lock."""
    cdef View *view = readers_view(topic)
    cdef ReaderState *reader = topic.readers
    cdef ReaderState *following
    cdef uint64_t moving = 0
    cdef uint64_t lagging = 0
    cdef uint64_t over = 0
    cdef bint fewer
    while reader != NULL:
        following = reader.next
        if judge(reader, now_ns):
            # One in the middle of a batch lets go later, and then must not be taken from the sums again.
            reader.moving = reader.lagging = reader.over = False
        else:
            reader.moving = now_ns - min(reader.took_ns, now_ns) < MOVING_NS
            reader.lagging = reader.moving and topic.log.end_position - reader.position > topic.pace_lag_bytes
            reader.over = reader.moving and topic.policy == POLICY_BLOCK and readers_is_over(reader, now_ns)
            moving += reader.moving
            lagging += reader.lagging
            over += reader.over
        reader = following
    fewer = lagging < view.lagging or over < view.over
    store_release(&view.moving, moving)
    store_release(&view.lagging, lagging)
    store_release(&view.over, over)
    store_release(&view.reviewed_end, topic.log.end_position)
    view.review_at_ns = now_ns + max(<uint64_t>REVIEW_EVERY_NS, REVIEW_SHARE * (clock_ns() - min(now_ns, clock_ns())))
    return lag_decide_pacing(topic, fewer)


cdef bint judge(ReaderState *reader, uint64_t now_ns) noexcept nogil:
    """Makes one that is too far behind skip, or ends it. True: it has ended."""
    cdef TopicState *topic = reader.topic
    cdef Least least
    cdef Place target
    if topic.policy != POLICY_DISCONNECT and topic.policy != POLICY_SKIP:
        return False
    if reader.cause or not readers_is_over(reader, now_ns):
        return False
    if topic.policy == POLICY_DISCONNECT:
        readers_condemn(reader, CAUSE_TOO_FAR_BEHIND)
        return True
    least = lag_least(readers_view(topic), now_ns)
    if place_oldest(&topic.log, &least, &target):
        readers_jump(reader, &target)
    return False


cdef void readers_skip_to_newest(TopicState *topic) noexcept nogil:
    """Under `latest`, something was appended: who had something to read already is to read that instead."""
    cdef ReaderState *reader = topic.readers
    cdef Place newest
    newest.segment = NULL
    while reader != NULL:
        if reader.position < readers_view(topic).pass_end:
            if newest.segment == NULL:
                place_newest(&topic.log, &newest)
            readers_jump(reader, &newest)
        reader = reader.next


cdef bint readers_is_over(ReaderState *reader, uint64_t now_ns) noexcept nogil:
    """Whether it is too far behind, by what it was owed before the last append."""
    cdef TopicState *topic = reader.topic
    cdef uint64_t owed_until = readers_view(topic).pass_end
    cdef uint64_t time_ns = 0
    if owed_until <= reader.position:
        return False
    if owed_until - reader.position > topic.max_lag_bytes:
        return True
    if topic.max_lag_messages and topic.offered_offset - reader.offset > topic.max_lag_messages:
        return True
    if not topic.max_lag_age_ns or reader.busy:
        return False
    readers_locate(reader)
    segment_offset_at(reader.segment, reader.position - reader.segment.base, &time_ns)
    return lag_is_too_old(readers_view(topic), time_ns, now_ns)


cdef bint readers_review_all(ReaderHub *hub, uint64_t now_ns, uint64_t resumed_ns) noexcept nogil:
    """Also where nothing is published any more: publishers may wait for a reader that has stopped reading. The calling
    loop went on after its last pause at `resumed_ns`."""
    cdef bint unpaced = False
    cdef TopicState *topic
    cdef View *view
    if load_acquire_pointer(&hub.topics) == NULL:
        return False
    mutex_lock(&hub.lock)
    topic = hub.topics
    while topic != NULL:
        mutex_lock(&topic.log.lock)
        view = readers_view(topic)
        view.ages_from_ns = max(view.ages_from_ns, resumed_ns)
        if topic.readers != NULL and readers_review(topic, now_ns):
            unpaced = True
        mutex_unlock(&topic.log.lock)
        topic = topic.hub_next
    mutex_unlock(&hub.lock)
    return unpaced


cdef bint readers_paced(ReaderHub *hub) noexcept nogil:
    """Whether publishers of a topic that has readers wait."""
    cdef bint paced = False
    cdef TopicState *topic
    mutex_lock(&hub.lock)
    topic = hub.topics
    while topic != NULL:
        paced = paced or load_acquire(&topic.paced) != 0
        topic = topic.hub_next
    mutex_unlock(&hub.lock)
    return paced


# --- the memory limit -----------------------------------------------------------------------------------------------

cdef TopicState *largest(ReaderHub *hub) noexcept nogil:
    # Under the hub's lock.
    cdef TopicState *topic = hub.topics
    cdef TopicState *found = NULL
    while topic != NULL:
        if lag_span(readers_view(topic)) > (0 if found == NULL else lag_span(readers_view(found))):
            found = topic
        topic = topic.hub_next
    return found


cdef uint64_t readers_span(ReaderHub *hub) noexcept nogil:
    """How far the farthest reader of any topic lags."""
    cdef TopicState *topic
    cdef uint64_t span = 0
    if load_acquire_pointer(&hub.topics) == NULL:
        return 0
    mutex_lock(&hub.lock)
    topic = largest(hub)
    if topic != NULL:
        span = lag_span(readers_view(topic))
    mutex_unlock(&hub.lock)
    return span


cdef bint readers_evict(ReaderHub *hub) noexcept nogil:
    """Ends the farthest reader of the topic where one lags most, but for what was appended last. True: it let go."""
    cdef TopicState *topic
    cdef ReaderState *reader
    cdef bint gone = False
    mutex_lock(&hub.lock)
    topic = largest(hub)
    if topic != NULL:
        mutex_lock(&topic.log.lock)
        reader = topic.readers
        while reader != NULL and reader.position != readers_view(topic).base:
            reader = reader.next
        if reader != NULL and reader.position < readers_view(topic).pass_end:
            gone = not reader.busy
            readers_condemn(reader, CAUSE_MEMORY)
        mutex_unlock(&topic.log.lock)
    mutex_unlock(&hub.lock)
    return gone

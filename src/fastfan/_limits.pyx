"""Limits carried out: lag reviews, the memory limit, publishers that were held back and may go on.

What a rule finds it only notes (`doomed`), because it looks while something else iterates; limits_apply() acts on it
once a round. Called by the I/O thread.
"""

from fastfan._connection cimport connection_condemn, connection_receive, memory_short, must_wait
from fastfan._cursor cimport CAUSE_MEMORY, CAUSE_TOO_FAR_BEHIND, GONE, Sink
from fastfan._lag cimport lag_farthest, lag_review, lag_review_due, lag_span
from fastfan._sync cimport load_acquire
from fastfan._mailbox cimport EVENT_ROOM, outbox_put

cdef enum:
    EVICT_FROM_BYTES = 65536    # closing a cursor of a smaller log would free next to nothing


cdef void limits_note_lag(Loop *loop, TopicState *topic) noexcept nogil:
    cdef bint was_paced = topic.view.paced
    if lag_review_due(topic, loop.now_ns):
        lag_review(topic, loop.now_ns, &loop.doomed)
        if was_paced and not topic.view.paced:
            announce_room(loop)


cdef void limits_review_all(Loop *loop) noexcept nogil:
    """Applies the lag rules where nothing else would: to topics whose cursors all stand still."""
    cdef TopicState *topic = loop.live
    while topic != NULL:
        lag_review(topic, loop.now_ns, &loop.doomed)
        topic = topic.live_next
    announce_room(loop)


cdef void limits_apply(Loop *loop) noexcept nogil:
    """Carries out what the reviews found, and the memory limit."""
    condemn_doomed(loop)
    while load_acquire(&loop.pool.used_bytes) > loop.pool.limit_bytes and evict(loop):
        continue
    if loop.held != NULL:
        release_held(loop)
    if loop.room_wanted_short and not memory_short(loop):
        announce_room(loop)


cdef void condemn_doomed(Loop *loop) noexcept nogil:
    cdef Sink *sink
    while loop.doomed != NULL:
        sink = loop.doomed
        loop.doomed = sink.doomed_next
        sink.doomed = False
        connection_condemn(loop, sink, CAUSE_TOO_FAR_BEHIND)


cdef bint evict(Loop *loop) noexcept nogil:
    """Condemns the farthest cursor of the largest log; False when no log holds anything worth it."""
    cdef TopicState *topic = loop.live
    cdef TopicState *largest = NULL
    cdef Sink *victim = NULL
    cdef uint64_t most = EVICT_FROM_BYTES
    while topic != NULL:
        if lag_span(topic) > most:
            largest, most = topic, lag_span(topic)
        topic = topic.live_next
    if largest != NULL:
        victim = lag_farthest(largest)
    if victim == NULL:
        return False
    connection_condemn(loop, victim, CAUSE_MEMORY)
    return True


cdef void release_held(Loop *loop) noexcept nogil:
    """Reads the publishers that waited, as far as they need not wait any more."""
    cdef Sink *sink = loop.held
    cdef Sink *following
    loop.held = NULL
    while sink != NULL:
        following = sink.held_next
        if sink.state != GONE and must_wait(loop, sink):
            sink.held_next = loop.held
            loop.held = sink
        else:
            sink.held = False
            if sink.state != GONE:
                connection_receive(loop, sink)
        sink = following


cdef void announce_room(Loop *loop) noexcept nogil:
    # Those who wait look for themselves whether the room is theirs, and ask again if not.
    if loop.room_wanted and not memory_short(loop):
        loop.room_wanted = loop.room_wanted_short = False
        outbox_put(&loop.outbox, EVENT_ROOM, 0, 0, 0, NULL, 0)

"""Limits carried out: lag reviews, the memory limit, publishers that were held back and may go on.

What a rule finds it only notes (`doomed`), because it looks while something else iterates; limits_apply() acts on it
once a round. Called by the I/O thread.
"""

from fastfan._connection cimport connection_condemn, connection_receive, must_wait
from fastfan._cursor cimport CAUSE_MEMORY, CAUSE_TOO_FAR_BEHIND, GONE, Sink
from fastfan._lag cimport lag_farthest, lag_review, lag_review_due, lag_span
from fastfan._pool cimport pool_short
from fastfan._sync cimport load_acquire
from fastfan._mailbox cimport EVENT_ROOM, outbox_put

cdef void limits_note_lag(Loop *loop, TopicState *topic) noexcept nogil:
    cdef bint was_paced = topic.view.paced
    if lag_review_due(topic, loop.now_ns):
        lag_review(topic, loop.now_ns, &loop.doomed)
        if was_paced and not topic.view.paced:
            announce_room(loop)


cdef void limits_review_all(Loop *loop) noexcept nogil:
    """Applies the lag rules to every topic with cursors: also where they all stand still and nothing else would."""
    cdef TopicState *topic = loop.live
    while topic != NULL:
        lag_review(topic, loop.now_ns, &loop.doomed)
        topic = topic.live_next
    end_shortage(loop)
    announce_room(loop)


cdef void end_shortage(Loop *loop) noexcept nogil:
    """Held publishers keep memory below the limit, so what fills it might never go. When they have waited as long as a
    stalled subscriber may, the farthest cursor of the largest log goes, one a tick."""
    if not pool_short(loop.pool) or (loop.held == NULL and not loop.room_wanted):
        loop.short_ns = 0
        return
    loop.short_ns += loop.tick_ns
    if loop.short_ns > loop.write_timeout_ns:
        evict(loop)


cdef void limits_apply(Loop *loop) noexcept nogil:
    """Carries out what the reviews found, and the memory limit."""
    condemn_doomed(loop)
    while load_acquire(&loop.pool.used_bytes) > loop.pool.limit_bytes and evict(loop):
        continue
    if loop.held != NULL:
        release_held(loop)
    if loop.room_wanted_short and not pool_short(loop.pool):
        announce_room(loop)


cdef void condemn_doomed(Loop *loop) noexcept nogil:
    cdef Sink *sink
    while loop.doomed != NULL:
        sink = loop.doomed
        loop.doomed = sink.doomed_next
        sink.doomed = False
        connection_condemn(loop, sink, CAUSE_TOO_FAR_BEHIND)


cdef bint evict(Loop *loop) noexcept nogil:
    """Condemns the farthest open cursor of the largest log that has one; False when none lags anywhere."""
    cdef TopicState *topic = loop.live
    cdef Sink *victim = NULL
    cdef Sink *farthest
    cdef uint64_t most = 0
    while topic != NULL:
        if lag_span(topic) > most:
            farthest = lag_farthest(topic)
            if farthest != NULL:
                victim, most = farthest, lag_span(topic)
        topic = topic.live_next
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


cdef void limits_answer_room(Loop *loop) noexcept nogil:
    """Somebody asks for room: at once where nothing is in the way."""
    cdef TopicState *topic = loop.live
    while topic != NULL:
        if topic.view.paced:
            return
        topic = topic.live_next
    announce_room(loop)


cdef void announce_room(Loop *loop) noexcept nogil:
    # Those who wait look for themselves whether the room is theirs, and ask again if not.
    if loop.room_wanted and not pool_short(loop.pool):
        loop.room_wanted = loop.room_wanted_short = False
        outbox_put(&loop.outbox, EVENT_ROOM, 0, 0, 0, NULL, 0)

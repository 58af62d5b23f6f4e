"""One connection's life on its loop: reading and lending, writing, holding back, and its end.

A readable connection is read only when Python has none of its bytes (`lent`), its control frames are not piling up,
and, for a publisher, its topic is not paced and memory is not short. What is readable and not read is remembered: the
poller tells readiness once.

Nothing dies under an iterator: a connection that ends goes to `graves`, and its slot is free after the round.
Called by the I/O thread that owns the connection.
"""

from libc.errno cimport EAGAIN, ENOMEM
from libc.string cimport memcpy

from fastfan._cursor cimport (
    CAUSE_CLOSED, CAUSE_LEFT, CAUSE_MEMORY, CAUSE_NONE, CAUSE_RESET, CONDEMNED, GONE, PEER_CLOSED, PING_NONE,
    PING_TAKEN, ROLE_PUBLISHER, TopicState, cursor_abandon, cursor_leave, topic_count_client,
)
from fastfan._dirty cimport dirty_mark
from fastfan._lag cimport lag_catches_up, lag_holds, lag_leaves, lag_skip_to_newest
from fastfan._incoming cimport incoming_wants_fill
from fastfan._lane cimport lane_drop, lane_fill, lane_take
from fastfan._limits cimport limits_note_span, limits_unpace
from fastfan._pool cimport pool_short
from fastfan._rest cimport rest_drop
from fastfan._sync cimport add_fetch, count_up, exchange_full, load_acquire, set_bits_full
from fastfan._loop cimport CHUNK_BYTES
from fastfan._mailbox cimport EVENT_CONDEMNED, EVENT_DEPARTED, EVENT_LENT, outbox_put
from fastfan._sink cimport BLOCKED, MORE, Flush, sink_control_left, sink_flush, sink_free_buffers, sink_move
from fastfan._system cimport (
    clock_ns, READY_READ, READY_WRITE, poller_remove, poller_rearm, wire_receive, wire_finish, wire_close,
    wire_reset,
)
from fastfan._table cimport table_drop
from fastfan._waitlist cimport waitlist_add, waitlist_remove, waitlist_take


cdef enum:
    CONTROL_BACKLOG = 4096      # bytes of waiting control frames beyond which a connection is not read
    CALLS_AT_ONCE = 4           # system calls for one connection before the next has its turn
    AHEAD_BYTES = 131072        # that publishers may add to a log before the pass over its cursors that is due is over
    READS_AT_ONCE = 64          # chunks of those who had more, between two polls
    DISCARDS_AT_ONCE = 16       # chunks thrown away at once: far under a millisecond; the rest waits for the next tick
    LITTLE_SHARE = 256          # what of the memory limit a topic may hold for its publishers not to wait for memory


# --- reading --------------------------------------------------------------------------------------------------------

cdef void connection_receive(Loop *loop, Sink *sink) noexcept nogil:
    """Reads one chunk for the lane and the shell, unless the connection has to wait."""
    cdef ssize_t wanted
    cdef ssize_t got
    if sink.state == PEER_CLOSED:
        discard(loop, sink)
        return
    if sink.lent or not sink.readable or sink.waits_in == &loop.held or sink_control_left(sink) > CONTROL_BACKLOG:
        return
    if must_wait(loop, sink):
        hold(loop, sink)
        return
    if sink.role & ROLE_PUBLISHER and has_outrun_pass(sink.view):
        waitlist_add(&loop.reading, sink)   # others first: the poller does not tell again of what was ready before
        return
    if incoming_wants_fill(loop, sink):
        got = lane_fill(loop, sink, &wanted)
    else:
        wanted = CHUNK_BYTES
        got = connection_read(loop, sink, loop.buffer + sink.tail_bytes, CHUNK_BYTES)
        if got > 0:
            if sink.tail_bytes:
                memcpy(loop.buffer, sink.tail, sink.tail_bytes)
            lane_take(loop, sink, loop.buffer, sink.tail_bytes + <uint32_t>got)
    if sink.state == GONE:
        return
    if got > 0:
        # A short read emptied the socket; the end of the stream, once told, is still to be read.
        sink.readable = got == wanted or sink.hangup
        if not sink.readable:
            poller_rearm(&loop.poll, sink.fd, READY_READ)
        sink.ping = PING_NONE if sink.ping == PING_TAKEN else sink.ping
        if sink_control_left(sink) and not sink.blocked:
            connection_send(loop, sink)
        if sink.readable and not sink.lent and sink.state != GONE:
            waitlist_add(&loop.reading, sink)
    elif got == -EAGAIN:
        sink.readable = False
        poller_rearm(&loop.poll, sink.fd, READY_READ)
    elif got == 0:
        connection_end(loop, sink, CAUSE_CLOSED if sink.close_sent else CAUSE_LEFT, False)
    else:
        connection_end(loop, sink, CAUSE_MEMORY if got == -ENOMEM else CAUSE_RESET, False)


cdef ssize_t connection_read(Loop *loop, Sink *sink, uint8_t *room, size_t room_bytes) noexcept nogil:
    """What wire_receive() does; counted before anything comes of it that another thread may see."""
    cdef ssize_t got = wire_receive(sink.fd, room, room_bytes)
    if got > 0:
        count_up(&loop.counters.received_bytes, <uint64_t>got)
    return got


cdef void connections_read_on(Loop *loop) noexcept nogil:
    """A chunk more of those who had more than one, of so many at once as a poll tells of."""
    cdef uint32_t left = min(loop.reading.count, <uint32_t>READS_AT_ONCE)
    while left and loop.reading.first != NULL:
        connection_receive(loop, waitlist_take(&loop.reading))
        left -= 1


cdef void connection_lend(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    sink.lent, sink.lent_bytes = True, data_bytes
    add_fetch(&loop.pool.used_bytes, data_bytes)
    if not outbox_put(loop.outbox, EVENT_LENT, sink.token, 0, 0, data, data_bytes):
        connection_end(loop, sink, CAUSE_MEMORY, True)


cdef void connection_return(Loop *loop, Sink *sink) noexcept nogil:
    add_fetch(&loop.pool.used_bytes, -<int64_t>sink.lent_bytes)
    sink.lent_bytes = 0
    sink.lent = False


cdef void discard(Loop *loop, Sink *sink) noexcept nogil:
    """Nothing more is wanted from this peer but its end of the stream."""
    cdef ssize_t got = 1
    cdef int calls = 0
    while got > 0 and calls < DISCARDS_AT_ONCE:
        got = wire_receive(sink.fd, loop.buffer, CHUNK_BYTES)
        calls += 1
    if got == -EAGAIN:
        sink.readable = False
        poller_rearm(&loop.poll, sink.fd, READY_READ)
    elif got <= 0:
        connection_end(loop, sink, CAUSE_CLOSED, False)


cdef bint must_wait(Loop *loop, Sink *sink) noexcept nogil:
    if not sink.role & ROLE_PUBLISHER:
        return False
    return lag_holds(sink) or must_wait_for_memory(loop, sink) or must_wait_for_others(loop, sink.topic)


cdef inline bint must_wait_for_memory(Loop *loop, Sink *sink) noexcept nogil:
    # Not for what others fill: a topic that holds little goes on, and at the limit itself the largest log gives way.
    if not pool_short(loop.pool) or (sink.incoming.partial.segment == NULL and (
            load_acquire(&sink.topic.log.held_bytes) <= loop.pool.limit_bytes // LITTLE_SHARE)):
        return False
    # Whoever sees that it is no longer short tells; but it may have been so just now.
    exchange_full(&loop.shared.awaiting_memory, 1)
    return pool_short(loop.pool)


cdef inline bint has_outrun_pass(View *view) noexcept nogil:
    # What is sent to a thousand sockets should be in the cache for all of them: a pass, under way or due, is finished
    # before much more is taken. A message waits in its publisher's socket then, not in the log.
    return load_acquire(&view.dirty.queued) and (
        load_acquire(&view.topic.log.end_position) - load_acquire(&view.pass_end) >= AHEAD_BYTES)


cdef inline bint must_wait_for_others(Loop *loop, TopicState *topic) noexcept nogil:
    """The same of the passes of other loops."""
    cdef uint32_t index
    for index in range(topic.loops):
        if index == loop.index or not has_outrun_pass(&topic.views[index]):
            continue
        set_bits_full(&topic.views[index].awaited, <uint64_t>1 << loop.index)
        if has_outrun_pass(&topic.views[index]):
            return True
    return False


cdef void hold(Loop *loop, Sink *sink) noexcept nogil:
    count_up(&loop.counters.held_publishers, 1)
    waitlist_add(&loop.held, sink)


# --- writing --------------------------------------------------------------------------------------------------------

cdef void connection_flush(Loop *loop, Sink *sink) noexcept nogil:
    """Sends what is owed, and carries on what had waited for it."""
    if sink.blocked or sink.state == GONE:
        return
    connection_send(loop, sink)
    if sink.readable:
        connection_receive(loop, sink)


cdef inline void connection_send(Loop *loop, Sink *sink) noexcept nogil:
    """Sends what is owed, with a few calls at most."""
    cdef Flush outcome = MORE
    cdef int calls = 0
    cdef bint was_viewed = sink.in_view
    cdef bint had_close = sink.close != NULL
    cdef uint64_t sent_bytes = 0
    if sink.blocked or sink.state == GONE:
        return
    if sink.was_blocked:
        lag_skip_to_newest(sink)
        sink.was_blocked = False
    while outcome == MORE and calls < CALLS_AT_ONCE:
        outcome = sink_flush(sink, loop.now_ns, &sent_bytes)
        calls += 1
    count_up(&loop.counters.sent_bytes, sent_bytes)
    if outcome == MORE:
        dirty_mark(loop, sink.view)
    elif outcome == BLOCKED:
        poller_rearm(&loop.poll, sink.fd, READY_WRITE)
    if was_viewed and not sink.in_view:
        connection_note_left(loop, sink)
    elif (sink.lagging or sink.over) and lag_catches_up(sink, loop.now_ns):
        limits_unpace(loop)
    if had_close and sink.close_sent and sink.state == PEER_CLOSED:
        wire_finish(sink.fd)


# --- the end --------------------------------------------------------------------------------------------------------

cdef void connection_condemn(Loop *loop, Sink *sink, Cause cause) noexcept nogil:
    """The engine wants it closed: its hold on the log ends here, the shell is asked for the Close."""
    if not sink_move(sink, CONDEMNED):
        return
    sink.cause = cause
    sink.close_left_ns = loop.close_deadline_ns
    if sink.in_view:
        connection_leave_view(loop, sink, True)
    outbox_put(loop.outbox, EVENT_CONDEMNED, sink.token, cause, 0, NULL, 0)


cdef void connection_end(Loop *loop, Sink *sink, Cause cause, bint reset) noexcept nogil:
    """Closes the descriptor; the shell is told and the slot is freed after the round."""
    cdef int fd = sink.fd
    if sink.cause == CAUSE_NONE:
        sink.cause = cause
    poller_remove(&loop.poll, fd)
    sink.fd = -1    # first, so that a child forked now does not close a number that is another's already
    if reset:
        wire_reset(fd)
    else:
        wire_close(fd)
    if sink.in_view:
        connection_leave_view(loop, sink, False)
    rest_drop(sink)
    sink_free_buffers(sink)
    lane_drop(loop, sink)
    connection_return(loop, sink)
    waitlist_remove(sink)
    sink_move(sink, GONE)
    sink.grave_next = loop.graves
    loop.graves = sink


cdef void connections_bury(Loop *loop) noexcept nogil:
    """The last that a loop has to do with them, and with their topics if nobody else is left."""
    cdef Sink *sink
    cdef uint64_t token
    cdef Cause cause
    cdef bint close_sent
    while loop.graves != NULL:
        sink = loop.graves
        loop.graves = sink.grave_next
        token, cause, close_sent = sink.token, sink.cause, sink.close_sent
        topic_count_client(sink.topic, -1, clock_ns())
        table_drop(&loop.table, sink)
        outbox_put(loop.outbox, EVENT_DEPARTED, token, cause, close_sent, NULL, 0)


cdef void connection_leave_view(Loop *loop, Sink *sink, bint keep_frame) noexcept nogil:
    cursor_leave(sink, keep_frame)
    connection_note_left(loop, sink)


cdef void connection_note_left(Loop *loop, Sink *sink) noexcept nogil:
    """It is in its view no more. Again: nothing."""
    if lag_leaves(sink):
        limits_unpace(loop)
    note_live(loop, sink.view)


cdef void note_live(Loop *loop, View *view) noexcept nogil:
    """Keeps the list of views that have cursors. Called when one has come or gone."""
    cdef bint live = view.count > 0
    limits_note_span(loop, view)
    if live == view.live:
        return
    view.live = live
    if live:
        view.live_before, view.live_next = NULL, loop.live
        if loop.live != NULL:
            loop.live.live_before = view
        loop.live = view
        return
    if view.live_before == NULL:
        loop.live = view.live_next
    else:
        view.live_before.live_next = view.live_next
    if view.live_next != NULL:
        view.live_next.live_before = view.live_before


cdef void connection_abandon(Loop *loop, Sink *sink) noexcept nogil:
    """Undoes attach() for a connection that never started."""
    if sink.joining:
        cursor_abandon(sink)
    topic_count_client(sink.topic, -1, clock_ns())
    table_drop(&loop.table, sink)

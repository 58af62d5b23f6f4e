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
    PING_TAKEN, ROLE_PUBLISHER, cursor_abandon, cursor_leave, cursor_unpin, view_trim,
)
from fastfan._dirty cimport dirty_mark
from fastfan._lag cimport lag_holds
from fastfan._lane cimport lane_drop_tail, lane_fill, lane_take
from fastfan._pool cimport pool_short
from fastfan._sync cimport add_fetch, load_acquire, mutex_lock, mutex_unlock
from fastfan._loop cimport CHUNK_BYTES
from fastfan._mailbox cimport EVENT_CONDEMNED, EVENT_DEPARTED, EVENT_LENT, outbox_put, poller
from fastfan._sink cimport MORE, Flush, sink_control_left, sink_flush, sink_free_buffers, sink_move
from fastfan._table cimport table_drop


cdef extern from "clock.h" nogil:
    uint64_t clock_ns()

cdef extern from "poller.h" nogil:
    int poller_remove(poller *poll, int fd)

cdef extern from "wire.h" nogil:
    ssize_t wire_receive(int fd, void *buffer, size_t nbytes)
    void wire_finish(int fd)
    void wire_close(int fd)
    void wire_reset(int fd)

cdef enum:
    CONTROL_BACKLOG = 4096      # bytes of waiting control frames beyond which a connection is not read
    CALLS_AT_ONCE = 4           # system calls for one connection before the next has its turn
    FILL_BYTES = 8192           # what a cut frame lacks for it to be read into its own memory, without a copy
    AHEAD_BYTES = 131072        # that publishers may add to a log before the pass over its cursors that is due is over
    READS_AT_ONCE = 64          # chunks of those who had more, between two polls
    DISCARDS_AT_ONCE = 256      # chunks thrown away at once: a few milliseconds; the rest waits for the next tick


# --- reading --------------------------------------------------------------------------------------------------------

cdef void connection_receive(Loop *loop, Sink *sink) noexcept nogil:
    """Reads one chunk for the lane and the shell, unless the connection has to wait."""
    cdef ssize_t wanted
    cdef ssize_t got
    if sink.state == PEER_CLOSED:
        discard(loop, sink)
        return
    if sink.lent or not sink.readable or sink.held or sink_control_left(sink) > CONTROL_BACKLOG:
        return
    if must_wait(loop, sink):
        hold(loop, sink)
        return
    if sink.role & ROLE_PUBLISHER and has_outrun_pass(sink.topic):
        read_on(loop, sink)
        return
    if sink.tail_frame > sink.tail_bytes + FILL_BYTES:
        got = lane_fill(loop, sink, &wanted)
    else:
        wanted = CHUNK_BYTES
        got = wire_receive(sink.fd, loop.buffer + sink.tail_bytes, CHUNK_BYTES)
        if got > 0:
            if sink.tail_bytes:
                memcpy(loop.buffer, sink.tail, sink.tail_bytes)
            lane_take(loop, sink, loop.buffer, sink.tail_bytes + <uint32_t>got)
    if got > 0:
        loop.counters.received_bytes += <uint64_t>got
        # A short read emptied the socket; the end of the stream, once told, is still to be read.
        sink.readable = got == wanted or sink.hangup
        sink.ping = PING_NONE if sink.ping == PING_TAKEN else sink.ping
        if sink.readable and not sink.lent:
            read_on(loop, sink)
    elif got == -EAGAIN:
        sink.readable = False
    elif got == 0:
        connection_end(loop, sink, CAUSE_CLOSED if sink.close_sent else CAUSE_LEFT, False)
    else:
        connection_end(loop, sink, CAUSE_MEMORY if got == -ENOMEM else CAUSE_RESET, False)


cdef void read_on(Loop *loop, Sink *sink) noexcept nogil:
    # Others first: the poller does not tell again of what was ready before.
    if sink.reading_on or sink.state == GONE:
        return
    sink.reading_on, sink.reading_next = True, NULL
    if loop.reading == NULL:
        loop.reading = sink
    else:
        loop.reading_last.reading_next = sink
    loop.reading_last = sink


cdef void connections_read_on(Loop *loop) noexcept nogil:
    """A chunk more of those who had more than one, of so many at once as a poll tells of."""
    cdef Sink *last = loop.reading_last
    cdef Sink *sink = NULL
    cdef int reads = 0
    while loop.reading != NULL and sink != last and reads < READS_AT_ONCE:
        sink = loop.reading
        loop.reading = sink.reading_next
        sink.reading_on = False
        if sink.state != GONE:
            connection_receive(loop, sink)
        reads += 1


cdef void connection_lend(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    sink.lent, sink.lent_bytes = True, data_bytes
    add_fetch(&loop.pool.used_bytes, data_bytes)
    if not outbox_put(&loop.outbox, EVENT_LENT, sink.token, 0, 0, data, data_bytes):
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
    elif got <= 0:
        connection_end(loop, sink, CAUSE_CLOSED, False)


cdef bint must_wait(Loop *loop, Sink *sink) noexcept nogil:
    if not sink.role & ROLE_PUBLISHER:
        return False
    return lag_holds(sink.topic, sink) or pool_short(loop.pool)


cdef inline bint has_outrun_pass(TopicState *topic) noexcept nogil:
    # What is sent to a thousand sockets should be in the cache for all of them: a pass, under way or due, is finished
    # before much more is taken. A message waits in its publisher's socket then, not in the log.
    return load_acquire(&topic.queued) and (
        load_acquire(&topic.log.end_position) - topic.view.pass_end >= AHEAD_BYTES)


cdef void hold(Loop *loop, Sink *sink) noexcept nogil:
    if not sink.held:
        loop.counters.held_publishers += 1
        sink.held = True
        sink.held_next = loop.held
        loop.held = sink


# --- writing --------------------------------------------------------------------------------------------------------

cdef void connection_flush(Loop *loop, Sink *sink) noexcept nogil:
    """Sends what is owed, with a few calls at most, and carries on what had waited for it."""
    cdef Flush outcome = MORE
    cdef int calls = 0
    cdef bint was_viewed = sink.in_view
    cdef bint had_close = sink.close != NULL
    if sink.blocked or sink.state == GONE:
        return
    while outcome == MORE and calls < CALLS_AT_ONCE:
        outcome = sink_flush(sink, loop.now_ns, &loop.counters.sent_bytes)
        calls += 1
    if outcome == MORE:
        dirty_mark(loop, sink.topic)
    if was_viewed and not sink.in_view:
        note_live(loop, sink.topic)
    if had_close and sink.close_sent and sink.state == PEER_CLOSED:
        wire_finish(sink.fd)
    if sink.readable:
        connection_receive(loop, sink)


# --- the end --------------------------------------------------------------------------------------------------------

cdef void connection_condemn(Loop *loop, Sink *sink, Cause cause) noexcept nogil:
    """The engine wants it closed: its hold on the log ends here, the shell is asked for the Close."""
    if not sink_move(sink, CONDEMNED):
        return
    sink.cause = cause
    sink.close_left_ns = loop.close_deadline_ns
    if sink.in_view:
        connection_leave_view(loop, sink, True)
    outbox_put(&loop.outbox, EVENT_CONDEMNED, sink.token, cause, 0, NULL, 0)


cdef void connection_end(Loop *loop, Sink *sink, Cause cause, bint reset) noexcept nogil:
    """Closes the descriptor and tells the shell; the slot is freed after the round."""
    cdef bint close_sent = sink.close_sent
    cdef TopicState *topic = sink.topic
    if sink.cause == CAUSE_NONE:
        sink.cause = cause
    poller_remove(&loop.poll, sink.fd)
    if reset:
        wire_reset(sink.fd)
    else:
        wire_close(sink.fd)
    sink.fd = -1
    if sink.in_view:
        connection_leave_view(loop, sink, False)
    if sink.pinning:
        cursor_unpin(topic, sink)
    sink_free_buffers(sink)
    lane_drop_tail(loop, sink)
    connection_return(loop, sink)
    sink_move(sink, GONE)
    mutex_lock(&topic.log.lock)
    drop_client(topic)
    mutex_unlock(&topic.log.lock)
    outbox_put(&loop.outbox, EVENT_DEPARTED, sink.token, sink.cause, close_sent, NULL, 0)
    sink.grave_next = loop.graves
    loop.graves = sink


cdef void connections_bury(Loop *loop) noexcept nogil:
    cdef Sink *sink
    while loop.graves != NULL:
        sink = loop.graves
        loop.graves = sink.grave_next
        if sink.held:
            unhold(loop, sink)
        if sink.reading_on:
            stop_reading_on(loop, sink)
        table_drop(&loop.table, sink)


cdef void unhold(Loop *loop, Sink *sink) noexcept nogil:
    cdef Sink **place = &loop.held
    while place[0] != sink:
        place = &place[0].held_next
    place[0] = sink.held_next
    sink.held = False


cdef void stop_reading_on(Loop *loop, Sink *sink) noexcept nogil:
    cdef Sink **place = &loop.reading
    cdef Sink *before = NULL
    while place[0] != sink:
        before = place[0]
        place = &place[0].reading_next
    place[0] = sink.reading_next
    if loop.reading_last == sink:
        loop.reading_last = before
    sink.reading_on = False


cdef void connection_leave_view(Loop *loop, Sink *sink, bint keep_frame) noexcept nogil:
    cursor_leave(sink.topic, sink, keep_frame)
    note_live(loop, sink.topic)


cdef void note_live(Loop *loop, TopicState *topic) noexcept nogil:
    """Keeps the list of topics that have cursors."""
    cdef bint live = topic.view.count > 0
    if live == topic.live:
        return
    topic.live = live
    if live:
        topic.live_before, topic.live_next = NULL, loop.live
        if loop.live != NULL:
            loop.live.live_before = topic
        loop.live = topic
        return
    topic.view.paced = False
    if topic.live_before == NULL:
        loop.live = topic.live_next
    else:
        topic.live_before.live_next = topic.live_next
    if topic.live_next != NULL:
        topic.live_next.live_before = topic.live_before


cdef void connection_abandon(Loop *loop, Sink *sink) noexcept nogil:
    """Undoes attach() for a connection that never started."""
    cdef TopicState *topic = sink.topic
    mutex_lock(&topic.log.lock)
    if sink.joining:
        cursor_abandon(topic, sink)
    drop_client(topic)
    mutex_unlock(&topic.log.lock)
    table_drop(&loop.table, sink)
    view_trim(topic)


cdef void drop_client(TopicState *topic) noexcept nogil:
    # Under the log's lock.
    topic.clients -= 1
    if topic.clients == 0:
        topic.idle_since_ns = clock_ns()

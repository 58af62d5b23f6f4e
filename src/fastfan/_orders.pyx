"""Orders: what the shell wants done with a connection, carried out by the thread that owns it."""

from fastfan._clocks cimport clocks_start
from fastfan._connection cimport (
    connection_abandon, connection_end, connection_flush, connection_leave_view, connection_note_left,
    connection_receive, connection_return, note_live,
)
from fastfan._cursor cimport (
    ATTACHED, CAUSE_ABORTED, CAUSE_RESET, CLOSING, GONE, LANE_ENDED, OPEN, PEER_CLOSED, POLICY_LATEST, POLICY_SKIP,
    ROLE_SUBSCRIBER, Sink, TopicState, cursor_abandon, cursor_admit, view_trim,
)
from fastfan._lag cimport lag_skip_to_newest
from fastfan._lane cimport lane_drop, lane_take
from fastfan._limits cimport limits_answer_room
from fastfan._mailbox cimport (
    COMMAND_ABORT, COMMAND_BEAT, COMMAND_CLOSE, COMMAND_RESUME, COMMAND_SEND, COMMAND_START, COMMAND_WANT_ROOM,
    EVENT_DEPARTED, THEN_DISCARD, outbox_put,
)
from fastfan._pool cimport pool_short
from fastfan._sink cimport sink_free_buffers, sink_move, sink_queue_close, sink_queue_control
from fastfan._system cimport poller_add, wire_prepare, wire_finish, wire_reset
from fastfan._table cimport table_find
from fastfan._waitlist cimport waitlist_remove


cdef enum:
    # A fifth slower than with 64 KiB for large messages at full speed; but what lies there is old when it gets out.
    NOTSENT_SKIPPING = 16384


cdef void orders_execute(Loop *loop, Command *command) noexcept nogil:
    cdef Sink *sink
    if command.kind == COMMAND_BEAT:
        loop.ping_interval_ns, loop.pong_deadline_ns, loop.beat_longest_ns = command.a, command.b, command.c
        loop.beat_due_ns = loop.now_ns
        return
    if command.kind == COMMAND_WANT_ROOM:
        loop.room_wanted, loop.room_wanted_short = True, pool_short(loop.pool)
        clocks_start(loop)
        limits_answer_room(loop)
        return
    sink = table_find(&loop.table, command.token)
    if command.kind == COMMAND_START:
        if sink != NULL and sink.state == ATTACHED:
            start(loop, sink, command)
        else:
            # Ours since start() was called, and nobody else's to close.
            wire_reset(<int>command.a)
        return
    if sink == NULL or sink.state == GONE:
        return
    if command.kind == COMMAND_ABORT:
        if sink.state == ATTACHED:
            connection_abandon(loop, sink)
        else:
            connection_end(loop, sink, CAUSE_ABORTED, True)
    elif command.kind == COMMAND_SEND:
        if sink.state == OPEN and sink_queue_control(sink, command.data, command.data_bytes):
            connection_flush(loop, sink)
    elif command.kind == COMMAND_CLOSE:
        close(loop, sink, command)
    elif command.kind == COMMAND_RESUME:
        connection_return(loop, sink)
        connection_receive(loop, sink)


cdef void orders_refuse(Loop *loop, Command *command) noexcept nogil:
    """For a loop that will not turn again: a connection on its way in ends here."""
    cdef Sink *sink = table_find(&loop.table, command.token)
    if command.kind != COMMAND_START:
        return
    wire_reset(<int>command.a)
    if sink != NULL and sink.state == ATTACHED:
        connection_abandon(loop, sink)
        outbox_put(loop.outbox, EVENT_DEPARTED, command.token, CAUSE_ABORTED, 0, NULL, 0)


cdef int notsent_bytes(Loop *loop, TopicState *topic) noexcept nogil:
    # What the kernel has is out of reach of a jump.
    if topic.policy == POLICY_SKIP or topic.policy == POLICY_LATEST:
        return min(loop.notsent_bytes, <int>NOTSENT_SKIPPING)
    return loop.notsent_bytes


cdef void start(Loop *loop, Sink *sink, Command *command) noexcept nogil:
    cdef uint32_t head_bytes = <uint32_t>command.b
    cdef int result
    sink.fd = <int>command.a
    result = wire_prepare(sink.fd, notsent_bytes(loop, sink.topic))
    if result == 0:
        result = poller_add(&loop.poll, sink.fd, sink.token)
    sink_move(sink, OPEN)
    sink.started = True
    if sink.role & ROLE_SUBSCRIBER and not cursor_admit(sink):
        result = -1
    sink.took_ns = loop.now_ns
    note_live(loop, sink.view)
    clocks_start(loop)
    if result < 0 or (head_bytes and not sink_queue_control(sink, command.data, head_bytes)):
        if sink.joining:
            cursor_abandon(sink)
        connection_end(loop, sink, CAUSE_RESET, True)
        return
    sink.readable = True
    if command.data_bytes > head_bytes:
        lane_take(loop, sink, command.data + head_bytes, command.data_bytes - head_bytes)
    connection_flush(loop, sink)
    view_trim(sink.view)


cdef void close(Loop *loop, Sink *sink, Command *command) noexcept nogil:
    cdef bint discards
    if sink.state == OPEN and command.a != THEN_DISCARD:
        # What was published before it: this may be the same round, and the fan-out of it comes later.
        connection_flush(loop, sink)
        if sink.blocked and sink.topic.policy == POLICY_LATEST:
            # From now on it is sent all that it is owed: of messages, the newest.
            lag_skip_to_newest(sink)
    discards = command.a == THEN_DISCARD or sink.lane == LANE_ENDED
    if not sink_move(sink, PEER_CLOSED if discards else CLOSING):
        return
    sink.close_left_ns = command.c if command.c else loop.close_deadline_ns
    if command.data_bytes:
        sink_queue_close(sink, command.data, command.data_bytes, command.b != 0)
        if not sink.in_view:
            connection_note_left(loop, sink)
    if discards:
        if sink.close == NULL and not sink.close_sent:
            # Without a Close of ours the stream ends where it stands, perhaps inside a frame.
            if sink.in_view:
                connection_leave_view(loop, sink, False)
            sink_free_buffers(sink)
            sink.write_dead = True
        lane_drop(loop, sink)
        waitlist_remove(sink)
        # What Python may still hold of it is of no use any more.
        connection_return(loop, sink)
        sink.readable = True
        if sink.close_sent or sink.write_dead:
            wire_finish(sink.fd)
    connection_flush(loop, sink)

"""One writer per socket: what a connection is owed, in which order, and one system call that sends it.

    log:   ...│ frame │ frame │ frame │ frame │ frame │
                   ▲          ▲               ▲
                   cursor     boundary        close_boundary
    wire:  rest of the frame, then the frames up to `boundary`, control, frames up to `close_boundary`, Close. End.

A cursor that jumps or leaves its view goes without the rest of the frame that it stands inside: that is the sink's
`rest`, which goes out ahead of all else.

Control frames (pongs, pings, the 101) go out at the first frame boundary, ahead of further data: inside a message
RFC 6455 section 5.4 allows them only between frames, and our messages are one frame each. After a Close nothing
follows (section 5.5.1).

The states, and who may move them:

    ATTACHED ──start──► OPEN ──the engine wants it closed──► CONDEMNED
                         │                                       │
                         ├─────────close(), peer's awaited───────┴──► CLOSING
                         │                                              │
                         └──close() in answer, or after a parse error───┴──► PEER_CLOSED
    and GONE from every one of them.

Called by the I/O thread that owns the sink; nothing here calls back.
"""

from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from fastfan._cursor cimport (
    ATTACHED, CLOSING, CONDEMNED, FREE, GONE, OPEN, PEER_CLOSED, PING_QUEUED, PING_TAKEN,
    cursor_advance, cursor_boundary, cursor_leave, cursor_settle,
)
from fastfan._pool cimport Segment
from fastfan._rest cimport rest_drop
from fastfan._sync cimport add_fetch, load_acquire, load_acquire_pointer
from fastfan._system cimport iovec, wire_send


cdef enum:
    PARTS_MAX = 64      # 16 MiB of the largest segments: far more than a socket takes at once
    CONTROL_MAX = 1 << 20   # bytes of control frames that wait; whose client leaves so many unread is read no more


cdef struct Gather:
    # What one call will carry, and where a cursor that wrote all of it would stand.
    iovec parts[PARTS_MAX]
    int count
    size_t asked_bytes
    Segment *segment
    uint64_t at
    uint64_t position


# --- states ---------------------------------------------------------------------------------------------------------

cdef bint sink_move(Sink *sink, State state) noexcept nogil:
    """Makes an allowed move; False leaves the state alone."""
    cdef State old = sink.state
    cdef bint allowed = state == GONE and old != FREE
    if old == FREE:
        allowed = state == ATTACHED
    elif old == ATTACHED:
        allowed = allowed or state == OPEN
    elif old == OPEN:
        allowed = allowed or state == CONDEMNED or state == CLOSING or state == PEER_CLOSED
    elif old == CONDEMNED:
        allowed = allowed or state == CLOSING or state == PEER_CLOSED
    elif old == CLOSING:
        allowed = allowed or state == PEER_CLOSED
    elif old == GONE:
        allowed = state == FREE
    if allowed:
        sink.state = state
    return allowed


# --- queueing -------------------------------------------------------------------------------------------------------

cdef uint32_t sink_control_left(Sink *sink) noexcept nogil:
    return sink.control_bytes - sink.control_sent


cdef bint sink_queue_control(Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    """Copies control frames behind those that wait. False: after a Close, on a dead sink, or no memory."""
    if sink.close != NULL or sink.close_sent or sink.write_dead:
        return False
    if data_bytes == 0:
        return True
    if not make_control_room(sink, data_bytes):
        return False
    if sink.control_bytes == 0:
        sink.boundary = cursor_boundary(sink)
    memcpy(sink.control + sink.control_bytes, data, data_bytes)
    sink.control_bytes += data_bytes
    return True


cdef bint make_control_room(Sink *sink, uint32_t data_bytes) noexcept nogil:
    cdef size_t room = <size_t>sink_control_left(sink) + data_bytes
    cdef uint8_t *grown
    if sink.control_bytes + <size_t>data_bytes <= sink.control_room:
        return True
    if sink.control_sent:
        # What is sent goes, or a peer that always leaves a little unread would make it grow for ever.
        sink.control_bytes -= sink.control_sent
        memmove(sink.control, sink.control + sink.control_sent, sink.control_bytes)
        sink.control_sent = 0
    if room <= sink.control_room:
        return True
    room = max(room, 2 * <size_t>sink.control_room)     # a chunk may hold thousands of pings
    if room > CONTROL_MAX:
        return False
    grown = <uint8_t *>realloc(sink.control, room)
    if grown == NULL:
        return False
    add_fetch(&sink.topic.log.pool.used_bytes, <int64_t>(room - sink.control_room))
    sink.control, sink.control_room = grown, <uint32_t>room
    return True


cdef void drop_control(Sink *sink) noexcept nogil:
    if sink.control == NULL:
        return
    add_fetch(&sink.topic.log.pool.used_bytes, -<int64_t>sink.control_room)
    free(sink.control)
    sink.control = NULL
    sink.control_bytes = sink.control_sent = sink.control_room = 0


cdef bint sink_queue_close(Sink *sink, const uint8_t *data, uint32_t data_bytes, bint after_log) noexcept nogil:
    """Queues our Close, which ends the subscription: at the next boundary, or with `after_log` behind everything the
    log holds now. False: there is one already, or no memory."""
    if sink.close != NULL or sink.close_sent or sink.write_dead:
        return False
    sink.close = <uint8_t *>realloc(NULL, data_bytes + 1)
    if sink.close == NULL:
        return False
    memcpy(sink.close, data, data_bytes)
    sink.close_bytes, sink.close_taken = data_bytes, 0
    if after_log and sink.in_view:
        sink.close_boundary = load_acquire(&sink.topic.log.end_position)
        return True
    if sink.in_view:
        cursor_leave(sink, True)
    sink.close_boundary = sink.position
    return True


cdef bint sink_owes(Sink *sink) noexcept nogil:
    """Whether the peer is owed anything: only then can it be stalled."""
    if sink.write_dead:
        return False
    if sink.control_bytes or sink.close != NULL or sink.rest != NULL:
        return True
    return sink.in_view and sink.position < load_acquire(&sink.topic.log.end_position)


cdef void sink_free_buffers(Sink *sink) noexcept nogil:
    drop_control(sink)
    free(sink.close)
    sink.close = NULL
    sink.close_bytes = sink.close_taken = 0


# --- sending --------------------------------------------------------------------------------------------------------

cdef inline void add_part(Gather *gather, void *base, size_t part_bytes) noexcept nogil:
    gather.parts[gather.count].iov_base = base
    gather.parts[gather.count].iov_len = part_bytes
    gather.count += 1
    gather.asked_bytes += part_bytes


cdef void add_log(Gather *gather, uint64_t until) noexcept nogil:
    """The log's bytes from where the gathering stands up to stream position `until`."""
    cdef Segment *following
    cdef uint64_t part_bytes
    while gather.position < until and gather.count < PARTS_MAX - 2:
        following = <Segment *>load_acquire_pointer(&gather.segment.next)
        part_bytes = load_acquire(&gather.segment.end) - gather.at
        if part_bytes == 0:
            gather.segment, gather.at = following, 0
            continue
        part_bytes = min(part_bytes, until - gather.position)
        add_part(gather, gather.segment.data + gather.at, part_bytes)
        gather.at += part_bytes
        gather.position += part_bytes


cdef bint gather_all(Sink *sink, Gather *gather) noexcept nogil:
    """Everything owed, as far as one call may carry it; False when that is not all."""
    cdef bint reads_log = cursor_settle(sink)
    cdef uint64_t until = sink.position
    gather.count, gather.asked_bytes = 0, 0
    gather.segment, gather.at, gather.position = sink.segment, sink.at, sink.position
    if sink.rest != NULL:
        add_part(gather, sink.rest.data + sink.rest_at, sink.rest_end - sink.rest_at)
    if reads_log:
        until = load_acquire(&sink.topic.log.end_position)
    if sink.control_bytes:
        if reads_log:
            add_log(gather, sink.boundary)
        if gather.position < sink.boundary:
            return False
        add_part(gather, sink.control + sink.control_sent, sink.control_bytes - sink.control_sent)
    if sink.close != NULL:
        until = sink.close_boundary
    if reads_log:
        add_log(gather, until)
    if gather.position < until:
        return False
    if sink.close != NULL:
        add_part(gather, sink.close + sink.close_taken, sink.close_bytes - sink.close_taken)
    return True


cdef uint64_t take_rest(Sink *sink, uint64_t taken) noexcept nogil:
    cdef uint64_t step = min(taken, sink.rest_end - sink.rest_at)
    sink.rest_at += step
    if sink.rest_at == sink.rest_end:
        rest_drop(sink)
    return taken - step


cdef uint64_t take_log(Sink *sink, uint64_t taken, uint64_t until) noexcept nogil:
    # Moves the cursor over what of `taken` lies before `until`; the rest is returned.
    cdef uint64_t step = min(taken, until - sink.position)
    if step:
        cursor_advance(sink, step)
    return taken - step


cdef void note_taken(Sink *sink, uint64_t taken) noexcept nogil:
    """The kernel took the first `taken` bytes of what gather_all() laid out."""
    cdef uint32_t step
    if sink.rest != NULL:
        taken = take_rest(sink, taken)
        if sink.rest != NULL:
            return
    if sink.control_bytes:
        taken = take_log(sink, taken, sink.boundary)
        step = <uint32_t>min(taken, <uint64_t>(sink.control_bytes - sink.control_sent))
        sink.control_sent += step
        taken -= step
        if sink.control_sent < sink.control_bytes:
            return
        drop_control(sink)
        if sink.ping == PING_QUEUED:
            sink.ping, sink.pong_waited_ns = PING_TAKEN, 0
    if sink.close != NULL:
        taken = take_log(sink, taken, sink.close_boundary)
        sink.close_taken += <uint32_t>taken
        if sink.close_taken == sink.close_bytes:
            free(sink.close)
            sink.close, sink.close_sent = NULL, True
    elif taken:
        take_log(sink, taken, sink.position + taken)
    if sink.close_sent and sink.in_view:
        cursor_leave(sink, False)


cdef void die(Sink *sink) noexcept nogil:
    # A write error ends only the write side: what a publisher sent before it left is still to be read.
    sink.write_dead = True
    if sink.in_view:
        cursor_leave(sink, False)
    rest_drop(sink)
    sink_free_buffers(sink)


cdef Flush sink_flush(Sink *sink, uint64_t now_ns, uint64_t *sent_bytes) noexcept nogil:
    """One system call with all that is owed. After DEAD the sink holds nothing of the log."""
    cdef Gather gather
    cdef ssize_t taken
    cdef bint everything
    if sink.write_dead:
        return DEAD
    everything = gather_all(sink, &gather)
    if gather.count == 0:
        return DRAINED
    taken = wire_send(sink.fd, gather.parts, gather.count)
    if taken == -EAGAIN:
        sink.blocked = True
        return BLOCKED
    if taken < 0:
        die(sink)
        return DEAD
    sent_bytes[0] += <uint64_t>taken
    sink.took_ns = now_ns
    sink.stalled_ns = 0
    note_taken(sink, <uint64_t>taken)
    if <size_t>taken < gather.asked_bytes:
        sink.blocked = True
        return BLOCKED
    return DRAINED if everything else MORE

"""The express lane: well-formed client frames that need no Python. For now whole binary messages, and pongs.

    a chunk:  [binary][binary][pong][binary][ping][binary][close][bina
               └───────── taken here ──────┘└──── lent ─────────┘└─ the tail, until the rest of it comes

Rules kept here:
- Everything from the first frame that is not for the lane goes to Python, in whole frames, up to the end of the chunk;
  the connection is not read before Python gives it back. So the order of a connection's frames holds across the split.
- What is lent begins where a frame does, or where the last lending ended: a wsproto object made at any lending finds
  a frame there, and one that has seen the connection before goes on where it was.
- A frame that Python has the beginning of, Python gets the end of (`lane_left`); so it does with fragmented messages
  (`lane_open`). From the first byte that is no frame, or none that may come now, everything is Python's (`lane_off`).
- A tail is a cut header, or a cut frame that is for the lane once it is whole. A cut frame that does not go on is lent
  after two ticks: how long a message may take is Python's to judge.
Called by the I/O thread that owns the connection.
"""

from libc.errno cimport ENOMEM
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from fastfan._connection cimport connection_end, connection_lend
from fastfan._cursor cimport CAUSE_MEMORY, OPEN, ROLE_PUBLISHER, TopicState
from fastfan._dirty cimport dirty_mark_all
from fastfan._log cimport FRAME_BINARY, log_append_masked, log_count_unseen, log_wish
from fastfan._pool cimport pool_short
from fastfan._readers cimport readers_note_append
from fastfan._sync cimport add_fetch, count_up, mutex_lock, mutex_unlock, store_release


cdef extern from "scanner.h" nogil:
    enum:
        SCAN_CONTINUATION, SCAN_BINARY, SCAN_CONTROL, SCAN_PONG
    enum scan:
        SCAN_FRAME, SCAN_MORE, SCAN_MALFORMED
    struct client_frame:
        size_t payload_bytes
        uint32_t key
        uint8_t header_bytes
        uint8_t opcode
        uint8_t fin
    scan scan_header(const uint8_t *data, size_t have, client_frame *frame)

cdef extern from "wire.h" nogil:
    ssize_t wire_receive(int fd, void *buffer, size_t nbytes)

cdef enum:
    PATIENCE_TICKS = 2
    LEAST_ROOM = 16384


cdef void lane_take(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    """Takes what it may of a chunk that begins with the tail, lends the rest, and keeps the new tail."""
    cdef const uint8_t *end = data + data_bytes
    cdef const uint8_t *rest = data
    cdef const uint8_t *lent_end
    if not loop.lane_bytes:
        connection_lend(loop, sink, data, data_bytes)
        return
    if not (sink.lane_off or sink.lane_left or sink.lane_open):
        rest = take_frames(loop, sink, data, end)
    lent_end = walk(loop, sink, rest, end)
    # A frame that was cut before and still is goes on waiting; another one begins to.
    if lent_end > data:
        sink.tail_ticks = 0
    if not keep_tail(loop, sink, lent_end, <uint32_t>(end - lent_end)):
        connection_end(loop, sink, CAUSE_MEMORY, True)
    elif rest < lent_end:
        connection_lend(loop, sink, rest, <uint32_t>(lent_end - rest))


cdef inline bint is_for_lane(Loop *loop, Sink *sink, client_frame *frame) noexcept nogil:
    if frame.opcode == SCAN_PONG:
        return True
    return frame.opcode == SCAN_BINARY and frame.fin and frame.payload_bytes <= loop.lane_bytes and (
        sink.role & ROLE_PUBLISHER) != 0 and sink.state == OPEN


cdef const uint8_t *take_frames(Loop *loop, Sink *sink, const uint8_t *data, const uint8_t *end) noexcept nogil:
    """Appends whole messages to the log, under one lock; returns where the first frame begins that it leaves."""
    cdef TopicState *topic = sink.topic
    cdef uint64_t messages = loop.counters.messages
    cdef client_frame frame
    cdef size_t wish_bytes
    cdef uint64_t viewers
    mutex_lock(&topic.log.lock)
    wish_bytes = log_wish(&topic.log, <size_t>(end - data))
    while scan_header(data, <size_t>(end - data), &frame) == SCAN_FRAME and is_for_lane(loop, sink, &frame):
        if frame.payload_bytes > <size_t>(end - data) - frame.header_bytes:
            break
        if frame.opcode == SCAN_BINARY and not publish(loop, topic, data, &frame, wish_bytes):
            break
        data += frame.header_bytes + frame.payload_bytes
    viewers = topic.viewers
    if loop.counters.messages != messages:
        store_release(&topic.idle_since_ns, loop.now_ns)
        readers_note_append(topic)
    mutex_unlock(&topic.log.lock)
    if loop.counters.messages != messages:
        dirty_mark_all(loop, topic, viewers)
    return data


cdef bint publish(Loop *loop, TopicState *topic, const uint8_t *data, client_frame *frame,
                  size_t wish_bytes) noexcept nogil:
    """Under the log's lock. False: the system has no memory; whoever tries it in Python will say so."""
    if topic.listeners == 0:
        log_count_unseen(&topic.log, frame.payload_bytes)
    elif not log_append_masked(&topic.log, FRAME_BINARY, data + frame.header_bytes, frame.payload_bytes, frame.key,
                               wish_bytes, loop.now_ns):
        return False
    count_up(&loop.counters.messages, 1)
    count_up(&loop.counters.message_bytes, frame.payload_bytes)
    return True


cdef const uint8_t *walk(Loop *loop, Sink *sink, const uint8_t *data, const uint8_t *end) noexcept nogil:
    """Follows the frames that Python gets; returns where the tail begins."""
    cdef client_frame frame
    cdef scan outcome
    cdef uint64_t frame_bytes
    if sink.lane_off:
        return end
    if sink.lane_left:
        if sink.lane_left >= <uint64_t>(end - data):
            sink.lane_left -= <uint64_t>(end - data)
            return end
        data += sink.lane_left
        sink.lane_left = 0
    while data < end:
        outcome = scan_header(data, <size_t>(end - data), &frame)
        if outcome == SCAN_MORE:
            return data
        if outcome == SCAN_MALFORMED or not may_come(sink, &frame):
            sink.lane_off = True
            return end
        frame_bytes = frame.header_bytes + <uint64_t>frame.payload_bytes
        if frame_bytes > <uint64_t>(end - data):
            if not sink.lane_open and is_for_lane(loop, sink, &frame):
                return data
            note(sink, &frame)
            sink.lane_left = frame_bytes - <uint64_t>(end - data)
            return end
        note(sink, &frame)
        data += frame_bytes
    return end


cdef inline bint may_come(Sink *sink, client_frame *frame) noexcept nogil:
    # RFC 6455 section 5.4: fragments of one message are not mixed with another's.
    return frame.opcode >= SCAN_CONTROL or (frame.opcode == SCAN_CONTINUATION) == (sink.lane_open != 0)


cdef inline void note(Sink *sink, client_frame *frame) noexcept nogil:
    if frame.opcode < SCAN_CONTROL:
        sink.lane_open = not frame.fin


# --- the tail -------------------------------------------------------------------------------------------------------

cdef bint keep_tail(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    """`data` is not in the old tail. False: the system has no memory."""
    cdef client_frame frame
    if data_bytes == 0:
        lane_drop_tail(loop, sink)
        return True
    if not make_room(loop, sink, data_bytes):
        return False
    memcpy(sink.tail, data, data_bytes)
    sink.tail_bytes, sink.tail_frame = data_bytes, 0
    if scan_header(data, data_bytes, &frame) == SCAN_FRAME:
        sink.tail_frame = frame.header_bytes + <uint32_t>frame.payload_bytes
    return True


cdef bint make_room(Loop *loop, Sink *sink, uint32_t room) noexcept nogil:
    cdef uint8_t *grown = <uint8_t *>realloc(sink.tail, room)
    if grown == NULL:
        return False
    add_fetch(&loop.pool.used_bytes, <int64_t>room - <int64_t>sink.tail_room)
    sink.tail, sink.tail_room = grown, room
    return True


cdef void lane_drop_tail(Loop *loop, Sink *sink) noexcept nogil:
    free(take_tail(loop, sink))


cdef uint8_t *take_tail(Loop *loop, Sink *sink) noexcept nogil:
    """The tail's memory, which is the caller's to free; NULL where there is none."""
    cdef uint8_t *tail = sink.tail
    add_fetch(&loop.pool.used_bytes, -<int64_t>sink.tail_room)
    sink.tail = NULL
    sink.tail_bytes = sink.tail_frame = sink.tail_room = sink.tail_ticks = 0
    return tail


cdef ssize_t lane_fill(Loop *loop, Sink *sink, ssize_t *wanted) noexcept nogil:
    """Reads on into a tail that lacks much, in place: a large message comes in many small pieces, and copying all of it
    for each of them would cost more than the network. Room grows with what came, so that announcing much costs us
    nothing. Returns what wire_receive() does for `wanted` bytes, and -ENOMEM."""
    cdef uint32_t frame_bytes = sink.tail_frame
    cdef uint32_t room = min(frame_bytes, max(2 * sink.tail_bytes, <uint32_t>LEAST_ROOM))
    cdef uint8_t *whole
    cdef ssize_t got
    if sink.tail_room < room and not make_room(loop, sink, room):
        return -ENOMEM
    wanted[0] = sink.tail_room - sink.tail_bytes
    got = wire_receive(sink.fd, sink.tail + sink.tail_bytes, sink.tail_room - sink.tail_bytes)
    if got > 0:
        sink.tail_bytes += <uint32_t>got
    if sink.tail_bytes == frame_bytes:
        whole = take_tail(loop, sink)
        lane_take(loop, sink, whole, frame_bytes)
        free(whole)
    return got


cdef void lane_tick(Loop *loop, Sink *sink) noexcept nogil:
    """Lends a message that does not go on. A cut header is nobody's message yet."""
    cdef client_frame frame
    if sink.lent or (sink.readable and not pool_short(loop.pool)):
        return      # what it lacks may be here; but while memory is short, unfinished messages may be what fills it
    if scan_header(sink.tail, sink.tail_bytes, &frame) != SCAN_FRAME:
        return
    sink.tail_ticks += 1
    if sink.tail_ticks < PATIENCE_TICKS:
        return
    note(sink, &frame)
    sink.lane_left = frame.header_bytes + <uint64_t>frame.payload_bytes - sink.tail_bytes
    connection_lend(loop, sink, sink.tail, sink.tail_bytes)
    lane_drop_tail(loop, sink)

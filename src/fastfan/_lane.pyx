"""The express lane: everything that a well-behaved client sends, but for its Close, without Python.

    a chunk:  [text][binary][ping][binary][pong][fragment][close]
               └─────────────── taken here ──────────────┘└lent─┘

Taken are whole messages (here), messages in pieces (_incoming.pyx), pings, and pongs. What subscribers send is counted
and thrown away.

Rules kept here:
- A Close goes to Python in one piece, and so does everything from the first byte that is no frame, or none that may
  come now: the verdict is wsproto's. That is the end of the lane for the connection (LANE_LEFT): all that follows is
  lent.
- So what is lent begins where a frame does. A wsproto object made then has missed nothing that it would have to know,
  but that a message is open: where that matters it is told by an empty first fragment.
- Frames are dealt with one after the other: a ping is answered when everything before it is in the log. Once the
  connection is closing, none is answered any more.
- Messages that are arriving have half of the memory, all together; beyond it the largest is ended, whoever's it is,
  unless it is the only one.
- A message against the rules (no UTF-8, too large, too slow) or without room in memory is the end as well: the engine
  condemns the connection, which is held as if it were lent until the shell's Close comes (LANE_ENDED).
- The tail is what a chunk ends with that can be dealt with only when more of it is here: a cut header, a cut control
  frame, a header whose first byte of payload has not come. A cut message is none: what there is of it is taken.
Called by the I/O thread that owns the connection.
"""

from libc.errno cimport EAGAIN
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastfan._codec cimport (
    SCAN_BINARY, SCAN_CLOSE, SCAN_CONTINUATION, SCAN_CONTROL, SCAN_CONTROL_MAX, SCAN_FRAME, SCAN_MALFORMED, SCAN_MORE,
    SCAN_PING, SCAN_PONG, SCAN_TEXT, UTF8_START, UTF8_WHOLE, check_masked, client_frame, scan, scan_header, unmask,
)
from fastfan._connection cimport connection_end, connection_lend, connection_read
from fastfan._cursor cimport (
    CAUSE_BAD_TEXT, CAUSE_MEMORY, CAUSE_MESSAGE_TIMEOUT, CAUSE_NO_ROOM, CAUSE_NONE, GONE, LANE_ENDED, LANE_LEFT,
    LANE_OPEN, OPEN, ROLE_PUBLISHER, Cause, TopicState,
)
from fastfan._dirty cimport dirty_mark_all
from fastfan._incoming cimport (
    incoming_begin, incoming_drop, incoming_end_frame, incoming_filled, incoming_is_overdue, incoming_piece,
    incoming_publish, incoming_room,
)
from fastfan._log cimport (
    APPEND_DONE, APPEND_NOT_TEXT, Append, frame_write_header, log_append_masked, log_count_unseen, log_retire, log_wish,
)
from fastfan._mailbox cimport EVENT_CONDEMNED, outbox_put
from fastfan._pool cimport pool_crowded
from fastfan._rates cimport rates_note_control, rates_note_ignored
from fastfan._readers cimport readers_note_append
from fastfan._sink cimport sink_queue_control
from fastfan._sync cimport add_fetch, count_up, load_acquire, mutex_lock, mutex_unlock, store_release
from fastfan._table cimport table_at


cdef enum:
    FIRST_FRAGMENT_BYTES = 6    # of an empty one: its header


cdef struct Chunk:
    const uint8_t *data         # what is left of it
    const uint8_t *end
    Cause verdict               # why the connection must end
    bint lends                  # what is left is Python's
    bint locked                 # the log: once for a whole batch, and not for what has no need of it
    size_t wish_bytes
    uint64_t messages           # published since then
    uint64_t message_bytes


cdef void lane_take(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    """Takes a chunk that begins with the tail; what the lane is not for is lent, what is cut becomes the new tail."""
    cdef Chunk chunk
    if loop.lane_bytes == 0 or sink.lane != LANE_OPEN:
        connection_lend(loop, sink, data, data_bytes)
        return
    memset(&chunk, 0, sizeof(Chunk))
    chunk.data, chunk.end = data, data + data_bytes
    take_frames(loop, sink, &chunk)
    let_go(loop, sink, &chunk)
    if chunk.verdict != CAUSE_NONE:
        condemn(loop, sink, chunk.verdict)
    elif chunk.lends:
        lend_rest(loop, sink, &chunk)
    elif not keep_tail(loop, sink, chunk.data, <uint32_t>(chunk.end - chunk.data)):
        connection_end(loop, sink, CAUSE_MEMORY, True)


cdef void take_frames(Loop *loop, Sink *sink, Chunk *chunk) noexcept nogil:
    cdef client_frame frame
    cdef scan outcome
    cdef size_t have
    while chunk.verdict == CAUSE_NONE:
        if sink.incoming.in_frame:
            take_piece(loop, sink, chunk)
            if sink.incoming.in_frame:
                return
            continue
        have = <size_t>(chunk.end - chunk.data)
        outcome = scan_header(chunk.data, have, &frame)
        if outcome == SCAN_FRAME and is_whole_message(loop, sink, &frame, have):
            take_message(loop, sink, chunk, &frame)     # first, for it is what nearly every frame is
            continue
        if outcome == SCAN_MORE or (outcome == SCAN_FRAME and is_cut(&frame, have)):
            return
        if outcome == SCAN_MALFORMED or frame.opcode == SCAN_CLOSE or not may_come(sink, &frame):
            chunk.lends = True
            return
        if frame.opcode >= SCAN_CONTROL:
            take_control(loop, sink, chunk, &frame)
        else:
            chunk.verdict = incoming_begin(loop, sink, &frame)
            chunk.data += frame.header_bytes


cdef inline bint is_cut(client_frame *frame, size_t have) noexcept nogil:
    # A control frame is dealt with whole. As for data, wsproto judges nothing before the first byte of a payload.
    if frame.opcode >= SCAN_CONTROL:
        return frame.payload_bytes > have - frame.header_bytes
    return frame.payload_bytes > 0 and have == frame.header_bytes


cdef inline bint may_come(Sink *sink, client_frame *frame) noexcept nogil:
    # RFC 6455 section 5.4: fragments of one message are not mixed with another's.
    return frame.opcode >= SCAN_CONTROL or (frame.opcode == SCAN_CONTINUATION) == (sink.incoming.opcode != 0)


cdef inline bint is_whole_message(Loop *loop, Sink *sink, client_frame *frame, size_t have) noexcept nogil:
    if frame.payload_bytes > have - frame.header_bytes or frame.payload_bytes > loop.lane_bytes:
        return False
    return (frame.opcode == SCAN_BINARY or frame.opcode == SCAN_TEXT) and frame.fin != 0 and sink.incoming.opcode == 0


# --- messages and pings ---------------------------------------------------------------------------------------------

cdef inline void take_message(Loop *loop, Sink *sink, Chunk *chunk, client_frame *frame) noexcept nogil:
    """One that is here from its first byte to its last."""
    cdef const uint8_t *payload = chunk.data + frame.header_bytes
    cdef size_t payload_bytes = <size_t>frame.payload_bytes
    cdef Append outcome = APPEND_DONE
    cdef bint publishes = sink.role & ROLE_PUBLISHER != 0
    cdef uint8_t text = UTF8_START
    if publishes and not chunk.locked:
        lock(loop, sink, chunk)
    if publishes and sink.topic.listeners:
        outcome = log_append_masked(&sink.topic.log, frame.opcode, payload, payload_bytes, frame.key,
                                    chunk.wish_bytes, loop.now_ns)
    elif frame.opcode == SCAN_TEXT and check_masked(&text, payload, payload_bytes, frame.key) != UTF8_WHOLE:
        outcome = APPEND_NOT_TEXT
    elif publishes:
        log_count_unseen(&sink.topic.log, payload_bytes)
    if outcome != APPEND_DONE:
        chunk.verdict = CAUSE_BAD_TEXT if outcome == APPEND_NOT_TEXT else CAUSE_NO_ROOM
        return
    chunk.data = payload + payload_bytes
    if publishes:
        chunk.messages += 1
        chunk.message_bytes += payload_bytes
    else:
        count_up(&loop.counters.ignored_messages, 1)
        chunk.verdict = rates_note_ignored(loop, sink, 1, payload_bytes)


cdef void take_piece(Loop *loop, Sink *sink, Chunk *chunk) noexcept nogil:
    """What the chunk has of the frame that is arriving."""
    cdef size_t piece_bytes = min(<size_t>sink.incoming.frame_left, <size_t>(chunk.end - chunk.data))
    if pool_crowded(loop.pool):
        let_go(loop, sink, chunk)
        chunk.verdict = thin_out(loop, sink)
        if chunk.verdict != CAUSE_NONE:
            return
    if piece_bytes:
        chunk.verdict = incoming_piece(loop, sink, chunk.data, piece_bytes)
        chunk.data += piece_bytes
    if chunk.verdict == CAUSE_NONE and sink.incoming.frame_left == 0:
        end_frame(loop, sink, chunk)


cdef void end_frame(Loop *loop, Sink *sink, Chunk *chunk) noexcept nogil:
    cdef bint complete
    cdef size_t payload_bytes = sink.incoming.partial.payload_bytes
    chunk.verdict = incoming_end_frame(loop, sink, &complete)
    if chunk.verdict != CAUSE_NONE or not complete:
        return
    if not chunk.locked:
        lock(loop, sink, chunk)
    if not incoming_publish(loop, sink):
        chunk.verdict = CAUSE_NO_ROOM
        return
    chunk.messages += 1
    chunk.message_bytes += payload_bytes
    if sink.incoming.partial.segment != NULL:
        let_go(loop, sink, chunk)   # giving back a large one takes the system a while
    incoming_drop(loop, sink)


cdef void take_control(Loop *loop, Sink *sink, Chunk *chunk, client_frame *frame) noexcept nogil:
    """A pong, which is nobody's business, or a ping. Answers do not pile up: see connection_receive()."""
    cdef uint8_t pong[2 + SCAN_CONTROL_MAX]
    cdef size_t payload_bytes = <size_t>frame.payload_bytes
    cdef size_t header_bytes
    chunk.verdict = rates_note_control(loop, sink)
    if chunk.verdict != CAUSE_NONE:
        return
    if frame.opcode == SCAN_PING and sink.state == OPEN:
        let_go(loop, sink, chunk)   # where the sink's boundary is may have to be looked up in the log
        header_bytes = frame_write_header(pong, SCAN_PONG, payload_bytes)
        unmask(pong + header_bytes, chunk.data + frame.header_bytes, payload_bytes, frame.key)
        sink_queue_control(sink, pong, <uint32_t>(header_bytes + payload_bytes))
    chunk.data += frame.header_bytes + payload_bytes


cdef void lock(Loop *loop, Sink *sink, Chunk *chunk) noexcept nogil:
    mutex_lock(&sink.topic.log.lock)
    chunk.locked = True
    chunk.messages = chunk.message_bytes = 0
    log_retire(&sink.topic.log, loop.now_ns)
    chunk.wish_bytes = log_wish(&sink.topic.log, <size_t>(chunk.end - chunk.data))


cdef void let_go(Loop *loop, Sink *sink, Chunk *chunk) noexcept nogil:
    """Unlocks the log, and tells of what was added."""
    cdef TopicState *topic = sink.topic
    cdef uint64_t viewers
    if not chunk.locked:
        return
    viewers = topic.viewers
    if chunk.messages:
        count_up(&loop.counters.messages, chunk.messages)
        count_up(&loop.counters.message_bytes, chunk.message_bytes)
        store_release(&topic.idle_since_ns, loop.now_ns)
        readers_note_append(topic)
    mutex_unlock(&topic.log.lock)
    chunk.locked = False
    if chunk.messages:
        dirty_mark_all(loop, topic, viewers)


cdef ssize_t lane_fill(Loop *loop, Sink *sink, ssize_t *wanted) noexcept nogil:
    """Reads on into a message that lacks much, in place: it comes in many small pieces, and a copy of each would cost
    more than the network. Returns what wire_receive() does for `wanted` bytes."""
    cdef Chunk chunk
    cdef size_t room_bytes
    cdef ssize_t got
    cdef uint8_t *room = NULL
    if not pool_crowded(loop.pool) or thin_out(loop, sink) == CAUSE_NONE:
        room = incoming_room(loop, sink, &room_bytes)
    if room == NULL:
        condemn(loop, sink, CAUSE_NO_ROOM)
        return -EAGAIN
    wanted[0] = <ssize_t>room_bytes
    got = connection_read(loop, sink, room, room_bytes)
    if got <= 0:
        return got
    memset(&chunk, 0, sizeof(Chunk))
    chunk.verdict = incoming_filled(sink, room, <size_t>got)
    if chunk.verdict == CAUSE_NONE and sink.incoming.frame_left == 0:
        end_frame(loop, sink, &chunk)
    let_go(loop, sink, &chunk)
    if chunk.verdict != CAUSE_NONE:
        condemn(loop, sink, chunk.verdict)
    return got


# --- the end of the lane --------------------------------------------------------------------------------------------

cdef void lend_rest(Loop *loop, Sink *sink, Chunk *chunk) noexcept nogil:
    """The rest of the chunk is Python's, and so is all that comes after it."""
    cdef uint8_t mixed[FIRST_FRAGMENT_BYTES + 15]    # a header has 14 at most
    cdef size_t rest_bytes = <size_t>(chunk.end - chunk.data)
    cdef client_frame frame
    sink.lane = LANE_LEFT
    if sink.incoming.opcode and scan_header(chunk.data, rest_bytes, &frame) == SCAN_FRAME and (
            frame.opcode < SCAN_CONTROL):
        # A message inside another. wsproto says so at the first byte of it, and hears nothing of what comes behind.
        memset(mixed, 0, FIRST_FRAGMENT_BYTES)
        mixed[0], mixed[1] = sink.incoming.opcode, 0x80     # masked, with a key of zeros
        rest_bytes = min(rest_bytes, <size_t>frame.header_bytes + 1)
        memcpy(mixed + FIRST_FRAGMENT_BYTES, chunk.data, rest_bytes)
        lane_drop(loop, sink)
        connection_lend(loop, sink, mixed, <uint32_t>(FIRST_FRAGMENT_BYTES + rest_bytes))
        return
    lane_drop(loop, sink)
    connection_lend(loop, sink, chunk.data, <uint32_t>rest_bytes)


cdef void condemn(Loop *loop, Sink *sink, Cause verdict) noexcept nogil:
    """In whatever state: the shell may be closing it already, and this is the reason that counts."""
    sink.lane, sink.lent = LANE_ENDED, True
    lane_drop(loop, sink)
    if not outbox_put(loop.outbox, EVENT_CONDEMNED, sink.token, verdict, 0, NULL, 0):
        connection_end(loop, sink, CAUSE_MEMORY, True)


cdef Cause thin_out(Loop *loop, Sink *sink) noexcept nogil:
    """Of the messages that are arriving here the largest go, until there is room for others: who begins many and ends
    none must not make memory short for everybody. One alone has all that there is. CAUSE_NONE: this one may go on."""
    cdef uint32_t slot
    cdef Sink *other
    cdef Sink *largest
    while pool_crowded(loop.pool):
        largest = NULL
        for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
            other = table_at(&loop.table, slot)
            if not other.started or other.state == GONE or other.incoming.partial.segment == NULL:
                continue
            if largest == NULL or other.incoming.counted_bytes > largest.incoming.counted_bytes:
                largest = other
        if largest == NULL or largest.incoming.counted_bytes >= load_acquire(&loop.pool.partial_bytes):
            return CAUSE_NONE
        if largest == sink:
            return CAUSE_NO_ROOM
        condemn(loop, largest, CAUSE_NO_ROOM)
    return CAUSE_NONE


cdef void lane_drop(Loop *loop, Sink *sink) noexcept nogil:
    """Gives back what the lane holds of the connection."""
    keep_tail(loop, sink, NULL, 0)
    incoming_drop(loop, sink)


cdef void lane_tick(Loop *loop, Sink *sink, uint64_t step_ns) noexcept nogil:
    """Of a connection with a message on its way."""
    if incoming_is_overdue(loop, sink, step_ns):
        condemn(loop, sink, CAUSE_MESSAGE_TIMEOUT)


# --- the tail -------------------------------------------------------------------------------------------------------

cdef bint keep_tail(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    """Replaces it; `data` is not in the old one. False: the system has no memory."""
    cdef uint8_t *tail = NULL
    if data_bytes == 0 and sink.tail == NULL:
        return True
    if data_bytes:
        tail = <uint8_t *>malloc(data_bytes)
        if tail == NULL:
            return False
        memcpy(tail, data, data_bytes)
    free(sink.tail)
    add_fetch(&loop.pool.used_bytes, <int64_t>data_bytes - <int64_t>sink.tail_bytes)
    sink.tail, sink.tail_bytes = tail, data_bytes
    return True

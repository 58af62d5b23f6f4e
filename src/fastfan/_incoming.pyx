"""A message that arrives in pieces: in fragments, or in one frame that the network cut.

    [text, more to come][ping][goes on: ····        the rest of the frame comes later
     └───────┬─────────┘       └──┬──┘
             └────► partial ◄─────┘   unmasked and, as text, checked while the bytes come; in the log once it is whole

Rules kept here:
- What has come lies in a segment of its own (Partial in _log.pyx), charged as it grows; so nobody waits behind a slow
  sender, and what was announced and has not come costs nothing. With its connection it is given back.
- Each piece is judged as it comes, in the order of the Python path: text that is wrong, then a message that is too
  large, then memory. So is a cut character at the end.
- A character counts when it is whole, as it does there: a message that is too large by less than one is not judged yet,
  for what comes may be no text.
- What subscribers send goes the same way and is kept nowhere.
- A message has message_timeout from its first byte to its last. Time in which the server held its publisher back does
  not count; while memory is short it does, for unfinished messages may be what fills it.
Called by the I/O thread that owns the connection; incoming_publish() under the log's lock.
"""

from libc.stdint cimport int64_t, uint32_t

from fastfan._codec cimport (
    SCAN_TEXT, UTF8_CUT, UTF8_START, UTF8_WRONG, check_masked, unmask, unmask_key_at, utf8, utf8_check,
)
from fastfan._cursor cimport (
    CAUSE_BAD_TEXT, CAUSE_NO_ROOM, CAUSE_NONE, CAUSE_TOO_BIG, CAUSE_TOO_MANY_FRAGMENTS, ROLE_PUBLISHER, Incoming,
    TopicState,
)
from fastfan._log cimport log_append_partial, log_count_unseen, partial_drop, partial_room
from fastfan._pool cimport pool_short
from fastfan._rates cimport rates_note_ignored
from fastfan._sync cimport add_fetch, count_up


cdef enum:
    FILL_BYTES = 8192           # what a frame lacks for it to be read into its own memory, without a copy
    FILL_MOST = 131072          # in one go: no longer than a large chunk takes
    FIRST_OF_SEVERAL = 0xC0     # bytes from here on begin a character, in UTF-8, and others follow (RFC 3629 section 3)


cdef Cause incoming_begin(Loop *loop, Sink *sink, client_frame *frame) noexcept nogil:
    """A data frame that may come now: of a new message, or of the one that is arriving. CAUSE_NONE: it was taken."""
    cdef Incoming *incoming = &sink.incoming
    if incoming.opcode == 0:
        incoming.opcode, incoming.text, incoming.waited_ns = frame.opcode, UTF8_START, 0
        incoming.fragments = incoming.unkept = incoming.cut = 0
    incoming.fragments += 1
    if loop.max_fragments and incoming.fragments > loop.max_fragments:
        return CAUSE_TOO_MANY_FRAGMENTS
    incoming.in_frame, incoming.fin = True, frame.fin
    incoming.key, incoming.frame_left = frame.key, frame.payload_bytes
    return CAUSE_NONE if sink.role & ROLE_PUBLISHER else rates_note_ignored(loop, sink, 1, 0)


cdef Cause incoming_piece(Loop *loop, Sink *sink, const uint8_t *data, size_t data_bytes) noexcept nogil:
    """The next bytes of the frame, masked. CAUSE_NONE: they were taken."""
    cdef Incoming *incoming = &sink.incoming
    cdef uint64_t total_bytes = incoming.partial.payload_bytes + incoming.unkept + data_bytes
    cdef bint too_big = total_bytes > loop.lane_bytes
    cdef uint8_t *out
    cdef utf8 text
    if sink.role & ROLE_PUBLISHER and not too_big:
        out = partial_room(loop.pool, &incoming.partial, data_bytes, expected_bytes(incoming))
        if out == NULL:
            return CAUSE_NO_ROOM
        recount(loop, incoming)
        unmask(out, data, data_bytes, incoming.key)
        return note_piece(incoming, out, data_bytes)
    if incoming.opcode == SCAN_TEXT:
        text = check_masked(&incoming.text, data, data_bytes, incoming.key)
        # Of one that is too large as well, wsproto says this first, whatever is wrong with the text.
        if text == UTF8_WRONG or (text == UTF8_CUT and incoming.fin and data_bytes == incoming.frame_left):
            return CAUSE_BAD_TEXT
        note_cut(incoming, text, data, data_bytes, incoming.key)
    if too_big and total_bytes - incoming.cut > loop.lane_bytes:
        return CAUSE_TOO_BIG
    if too_big:
        incoming.unkept += <uint32_t>data_bytes
    else:
        incoming.partial.payload_bytes += data_bytes
    advance(incoming, data_bytes)
    return CAUSE_NONE if sink.role & ROLE_PUBLISHER else rates_note_ignored(loop, sink, 0, data_bytes)


cdef inline void recount(Loop *loop, Incoming *incoming) noexcept nogil:
    """Its segment may have grown, or gone."""
    cdef uint64_t held_bytes = 0 if incoming.partial.segment == NULL else incoming.partial.segment.block_bytes
    if held_bytes != incoming.counted_bytes:
        add_fetch(&loop.pool.partial_bytes, <int64_t>held_bytes - <int64_t>incoming.counted_bytes)
        incoming.counted_bytes = held_bytes


cdef inline size_t expected_bytes(Incoming *incoming) noexcept nogil:
    # Of the message. Before its last frame nobody knows, and growing by a frame at a time would copy again and again.
    return incoming.partial.payload_bytes + incoming.frame_left if incoming.fin else 0


cdef inline void advance(Incoming *incoming, size_t data_bytes) noexcept nogil:
    # In its frame.
    incoming.frame_left -= data_bytes
    incoming.key = unmask_key_at(incoming.key, data_bytes)


cdef Cause note_piece(Incoming *incoming, const uint8_t *plain, size_t data_bytes) noexcept nogil:
    cdef utf8 text
    incoming.partial.payload_bytes += data_bytes
    advance(incoming, data_bytes)
    if incoming.opcode == SCAN_TEXT:
        text = utf8_check(&incoming.text, plain, data_bytes)
        if text == UTF8_WRONG:
            return CAUSE_BAD_TEXT
        note_cut(incoming, text, plain, data_bytes, 0)
    return CAUSE_NONE


cdef inline void note_cut(
    Incoming *incoming, utf8 text, const uint8_t *data, size_t data_bytes, uint32_t key
) noexcept nogil:
    """How much of a character is here that goes on: it began in this piece, masked with the key, or before it."""
    cdef const uint8_t *mask = <const uint8_t *>&key
    cdef size_t back
    if text != UTF8_CUT:
        incoming.cut = 0
        return
    for back in range(1, min(data_bytes, <size_t>3) + 1):
        if data[data_bytes - back] ^ mask[(data_bytes - back) & 3] >= FIRST_OF_SEVERAL:
            incoming.cut = <uint8_t>back
            return
    incoming.cut += <uint8_t>data_bytes


# --- read where it will stay ----------------------------------------------------------------------------------------

cdef bint incoming_wants_fill(Loop *loop, Sink *sink) noexcept nogil:
    """Whether the frame lacks so much that what comes next is best read into the message's own memory; of a message
    that is large already, for room is charged before it is filled."""
    cdef Incoming *incoming = &sink.incoming
    return incoming.in_frame and incoming.frame_left > FILL_BYTES and sink.role & ROLE_PUBLISHER != 0 and (
        incoming.unkept == 0 and incoming.partial.payload_bytes >= FILL_BYTES
        and incoming.frame_left <= loop.lane_bytes - incoming.partial.payload_bytes)


cdef uint8_t *incoming_room(Loop *loop, Sink *sink, size_t *room_bytes) noexcept nogil:
    """Where the frame goes on. As much as has come, so that announcing much costs nothing; NULL: no memory for it."""
    cdef Incoming *incoming = &sink.incoming
    cdef size_t most = min(incoming.partial.payload_bytes, <size_t>FILL_MOST)
    cdef uint8_t *room
    room_bytes[0] = min(<size_t>incoming.frame_left, most)
    room = partial_room(loop.pool, &incoming.partial, room_bytes[0], expected_bytes(incoming))
    recount(loop, incoming)
    return room


cdef Cause incoming_filled(Sink *sink, uint8_t *data, size_t data_bytes) noexcept nogil:
    """So many bytes were read into the room."""
    unmask(data, data, data_bytes, sink.incoming.key)
    return note_piece(&sink.incoming, data, data_bytes)


# --- the end --------------------------------------------------------------------------------------------------------

cdef Cause incoming_end_frame(Loop *loop, Sink *sink, bint *complete) noexcept nogil:
    """The frame is whole. `complete`: so is the message, and it is to be published."""
    cdef Incoming *incoming = &sink.incoming
    incoming.in_frame = False
    complete[0] = False
    if not incoming.fin:
        return CAUSE_NONE
    if incoming.opcode == SCAN_TEXT and utf8_check(&incoming.text, NULL, 0) == UTF8_CUT:
        return CAUSE_BAD_TEXT
    if sink.role & ROLE_PUBLISHER:
        complete[0] = True
    else:
        count_up(&loop.counters.ignored_messages, 1)
        incoming_drop(loop, sink)
    return CAUSE_NONE


cdef bint incoming_publish(Loop *loop, Sink *sink) noexcept nogil:
    """Makes the message part of the log. What is left of it, where nobody reads, is to be dropped without the lock.
    False: the system has no memory."""
    cdef TopicState *topic = sink.topic
    cdef Incoming *incoming = &sink.incoming
    if topic.listeners == 0:
        log_count_unseen(&topic.log, incoming.partial.payload_bytes)
    elif not log_append_partial(&topic.log, &incoming.partial, incoming.opcode, loop.now_ns):
        return False
    recount(loop, incoming)
    return True


cdef void incoming_drop(Loop *loop, Sink *sink) noexcept nogil:
    partial_drop(loop.pool, &sink.incoming.partial)
    recount(loop, &sink.incoming)
    sink.incoming.opcode = 0
    sink.incoming.in_frame = False


cdef bint incoming_is_overdue(Loop *loop, Sink *sink, uint64_t step_ns) noexcept nogil:
    """Advances the message's clock."""
    if not sink.role & ROLE_PUBLISHER or sink.lent:
        return False
    # What it lacks may be here, and held back by us. (Where its pongs pile up it is not read either: its own doing.)
    if sink.waits_in != NULL and not pool_short(loop.pool):
        return False
    sink.incoming.waited_ns += step_ns
    return sink.incoming.waited_ns > loop.message_timeout_ns

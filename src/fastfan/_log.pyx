"""One log per topic: frames end to end, in segments that readers share.

    head                                   tail
     │                                      │
     ▼                                      ▼
    [frame frame frame]──►[frame frame]──►[frame ····free····]
          ▲                      ▲              ▲
          cursor of a slow one   others         end_position, where the next frame goes

Rules kept here:
- A frame never spans two segments, and a segment's bytes never change once `end` covers them.
- The appender holds `lock`. It writes the bytes, then `end`, then `next_offset` and `end_position`, each with release;
  a reader that took `end_position` with acquire may read every byte before it without a lock.
- `next` is set once, after the last change of `end`: who sees a `next` knows that this segment is complete.
- Who holds `lock` frees: log_trim() takes what is below the oldest segment anybody still needs.
  A pinned segment leaves the log but not the memory; its last pin gives it back.
- Positions count the bytes of the topic's whole life, so they compare across segments that are long gone.
"""

from libc.string cimport memcpy, memset

from fastfan._pool cimport (
    MARK_STRIDE, SIZE_CLASSES, Mark, class_capacity, pool_allows, pool_block_bytes, pool_capacity, pool_grow,
    pool_release, pool_take, segment_reset,
)
from fastfan._codec cimport UTF8_START, UTF8_WHOLE, check_masked, unmask, utf8_check
from fastfan._sync cimport (
    add_fetch, load_acquire, mutex_destroy, mutex_init, store_release, store_release_pointer,
)


# --- appending (under the log's lock) -------------------------------------------------------------------------------

cdef void log_init(Log *log, Pool *pool, uint64_t epoch) noexcept nogil:
    memset(log, 0, sizeof(Log))
    mutex_init(&log.lock)
    log.pool = pool
    log.epoch = epoch
    log.next_offset = 1


cdef void log_clear(Log *log) noexcept nogil:
    """For a log without readers: gives everything back."""
    log_trim(log, log.next_sequence)
    mutex_destroy(&log.lock)


cdef void log_link(Log *log, Segment *segment, uint64_t now_ns) noexcept nogil:
    segment.sequence = log.next_sequence
    segment.base = log.end_position
    segment.first_offset = log.next_offset
    segment.first_time_ns = now_ns
    log.next_sequence += 1
    store_release(&log.held_bytes, log.held_bytes + segment.block_bytes)
    if log.tail == NULL:
        log.head = segment
    else:
        store_release_pointer(&log.tail.next, segment)
    log.tail = segment


cdef inline void log_publish_end(Log *log, Segment *segment, size_t frame_bytes) noexcept nogil:
    segment.frames += 1
    store_release(&segment.end, segment.end + frame_bytes)
    store_release(&log.next_offset, log.next_offset + 1)
    store_release(&log.end_position, log.end_position + frame_bytes)


cdef inline void segment_mark(Segment *segment, size_t frame_bytes, uint64_t now_ns) noexcept nogil:
    # Every stride that begins inside this frame points at it.
    cdef size_t at = segment.end
    cdef size_t stride = (at + MARK_STRIDE - 1) // MARK_STRIDE
    while stride * MARK_STRIDE < at + frame_bytes:
        segment.marks[stride].at = <uint32_t>at
        segment.marks[stride].index = segment.frames
        segment.marks[stride].time_ns = now_ns
        stride += 1


cdef size_t log_wish(Log *log, size_t batch_bytes) noexcept nogil:
    """How large new segments should be for a batch of that many bytes of frames: a log that grows takes larger ones,
    a quiet one holds little."""
    cdef size_t wish_bytes = 0 if log.head == NULL else (log.end_position - log.head.base) // 2
    if log.stretch_ns and log.tail != NULL:
        wish_bytes = min(wish_bytes, 2 * log.tail.end)  # no more than comes before it is given up
    return max(batch_bytes, wish_bytes)


cdef void log_retire(Log *log, uint64_t now_ns) noexcept nogil:
    """Before a batch. When frames came is known of a page of them, no closer; so where ages count, a segment that began
    too long ago takes no more."""
    if log.stretch_ns and log.tail != NULL and now_ns > log.tail.first_time_ns + log.stretch_ns:
        log.tail.capacity = log.tail.end


cdef void log_foresee(Log *log, Foresight *foresight, size_t payload_bytes) noexcept nogil:
    """Adds to `foresight.block_bytes` what appending this message too would charge; messages in their order."""
    cdef size_t frame_bytes = frame_bytes_of(payload_bytes)
    if foresight.left_bytes < frame_bytes:
        foresight.block_bytes += pool_block_bytes(frame_bytes, foresight.wish_bytes)
        foresight.left_bytes = pool_capacity(frame_bytes, foresight.wish_bytes)
    foresight.left_bytes -= frame_bytes


cdef void log_foresight(Log *log, Foresight *foresight, size_t batch_bytes, uint64_t now_ns) noexcept nogil:
    foresight.block_bytes = 0
    foresight.wish_bytes = log_wish(log, batch_bytes)
    log_retire(log, now_ns)
    foresight.left_bytes = 0 if log.tail == NULL else log.tail.capacity - log.tail.end


cdef inline size_t frame_bytes_of(size_t payload_bytes) noexcept nogil:
    return frame_header_size(payload_bytes) + payload_bytes


cdef inline bint log_has_room(Log *log, size_t frame_bytes) noexcept nogil:
    return log.tail != NULL and log.tail.capacity - log.tail.end >= frame_bytes


cdef inline uint8_t *log_reserve(Log *log, uint8_t opcode, size_t payload_bytes, size_t frame_bytes, size_t wish_bytes,
                                 uint64_t now_ns) noexcept nogil:
    """Writes a frame's header at the end; returns where its payload goes, or NULL: the system has no memory."""
    cdef Segment *segment = log.tail
    cdef uint8_t *out
    if not log_has_room(log, frame_bytes):
        segment = pool_take(log.pool, frame_bytes, wish_bytes)
        if segment == NULL:
            return NULL
        log_link(log, segment, now_ns)
    out = segment.data + segment.end
    return out + frame_write_header(out, opcode, payload_bytes)


cdef inline void log_commit(Log *log, size_t frame_bytes, uint64_t now_ns) noexcept nogil:
    """The frame that was reserved is complete."""
    if log.tail.marks != NULL:
        segment_mark(log.tail, frame_bytes, now_ns)
    log_publish_end(log, log.tail, frame_bytes)


cdef bint log_append(Log *log, uint8_t opcode, const uint8_t *payload, size_t payload_bytes,
                     size_t wish_bytes, uint64_t now_ns) noexcept nogil:
    """Frames the payload at the end. A new segment has room for `wish_bytes` (see log_wish) where a size class has it.
    False: the system has no memory."""
    cdef size_t frame_bytes = frame_bytes_of(payload_bytes)
    cdef uint8_t *out = log_reserve(log, opcode, payload_bytes, frame_bytes, wish_bytes, now_ns)
    if out == NULL:
        return False
    if payload_bytes:
        memcpy(out, payload, payload_bytes)
    log_commit(log, frame_bytes, now_ns)
    return True


cdef Append log_append_masked(Log *log, uint8_t opcode, const uint8_t *masked, size_t payload_bytes, uint32_t key,
                              size_t wish_bytes, uint64_t now_ns) noexcept nogil:
    """The same of a payload as a client sent it: unmasked while it is copied, and text checked before it counts."""
    cdef size_t frame_bytes = frame_bytes_of(payload_bytes)
    cdef bint is_text = opcode == FRAME_TEXT
    cdef uint8_t text = UTF8_START
    cdef uint8_t *out
    if is_text and not log_has_room(log, frame_bytes):
        # A segment that was linked for it stays linked: so this once it is checked before.
        is_text = False
        if check_masked(&text, masked, payload_bytes, key) != UTF8_WHOLE:
            return APPEND_NOT_TEXT
    out = log_reserve(log, opcode, payload_bytes, frame_bytes, wish_bytes, now_ns)
    if out == NULL:
        return APPEND_NO_MEMORY
    unmask(out, masked, payload_bytes, key)
    if is_text and utf8_check(&text, out, payload_bytes) != UTF8_WHOLE:
        return APPEND_NOT_TEXT
    log_commit(log, frame_bytes, now_ns)
    return APPEND_DONE


cdef void log_count_unseen(Log *log, size_t payload_bytes) noexcept nogil:
    """A message that nobody is there to read: it has its offset and is not kept."""
    store_release(&log.next_offset, log.next_offset + 1)
    store_release(&log.end_position, log.end_position + frame_bytes_of(payload_bytes))


cdef void log_count_all_unseen(Log *log, Log *aside) noexcept nogil:
    """The same of all messages of `aside`, which keeps them."""
    store_release(&log.next_offset, log.next_offset + aside.next_offset - 1)
    store_release(&log.end_position, log.end_position + aside.end_position)


cdef void log_splice(Log *log, Log *aside) noexcept nogil:
    """Makes all of `aside`, a log that nobody else knows, the end of this one. It is empty afterwards."""
    cdef Segment *segment = aside.head
    cdef Segment *following
    while segment != NULL:
        following = segment.next
        segment.next = NULL
        log_link(log, segment, segment.first_time_ns)
        store_release(&log.next_offset, log.next_offset + segment.frames)
        store_release(&log.end_position, log.end_position + segment.end)
        segment = following
    aside.head = aside.tail = NULL


cdef void log_trim(Log *log, uint64_t keep_from_sequence) noexcept nogil:
    cdef Segment *segment
    while log.head != NULL and log.head.sequence < keep_from_sequence:
        segment = log.head
        log.head = segment.next
        store_release(&log.held_bytes, log.held_bytes - segment.block_bytes)
        if segment.pins:
            segment.unlinked = True
            add_fetch(&log.pool.pinned_bytes, <int64_t>segment.block_bytes)
        else:
            pool_release(log.pool, segment)
    if log.head == NULL:
        log.tail = NULL


# --- a message that arrives in pieces -------------------------------------------------------------------------------

cdef uint8_t *partial_room(Pool *pool, Partial *partial, size_t data_bytes, size_t expected_bytes) noexcept nogil:
    """Where the next `data_bytes` go, charged to the pool as they come; `payload_bytes` is the caller's to move.

    Room doubles, up to `expected_bytes` (0: nobody knows), so that announcing costs nothing; what the pool has segments
    for gets its room at once when a quarter is here. NULL: no memory left, of the limit or of the system."""
    cdef Segment *segment = partial.segment
    cdef size_t need = FRAME_HEADER_MAX + partial.payload_bytes + data_bytes
    cdef size_t room = need
    cdef size_t had = 0
    if segment == NULL or segment.capacity < need:
        if segment != NULL:
            had = segment.block_bytes
            room = max(need, 2 * had - sizeof(Segment))
        if expected_bytes and (room > expected_bytes or expected_bytes <= min(
                4 * need, class_capacity(SIZE_CLASSES - 1) - FRAME_HEADER_MAX)):
            room = max(need, FRAME_HEADER_MAX + expected_bytes)
        if not pool_allows(pool, pool_block_bytes(room, 0) - had):
            return NULL
        segment = pool_grow(pool, segment, room, FRAME_HEADER_MAX + partial.payload_bytes)
        if segment == NULL:
            return NULL
        partial.segment = segment
    return segment.data + FRAME_HEADER_MAX + partial.payload_bytes


cdef bint partial_extend(Pool *pool, Partial *partial, const uint8_t *data, size_t data_bytes) noexcept nogil:
    """Adds bytes. False: no memory left, of the limit or of the system."""
    cdef uint8_t *out = partial_room(pool, partial, data_bytes, 0)
    if out == NULL:
        return False
    memcpy(out, data, data_bytes)
    partial.payload_bytes += data_bytes
    return True


cdef void partial_drop(Pool *pool, Partial *partial) noexcept nogil:
    if partial.segment != NULL:
        pool_release(pool, partial.segment)
    partial.segment = NULL
    partial.payload_bytes = 0


cdef bint log_append_partial(Log *log, Partial *partial, uint8_t opcode, uint64_t now_ns) noexcept nogil:
    """Makes the complete message part of the log: linked as it is when large, copied when a shared segment holds it.
    The partial is empty afterwards. False: the system has no memory, and the partial is untouched."""
    cdef Segment *segment = partial.segment
    cdef size_t payload_bytes = partial.payload_bytes
    cdef size_t header_bytes = frame_header_size(payload_bytes)
    cdef const uint8_t *payload = NULL
    if segment != NULL:
        payload = segment.data + FRAME_HEADER_MAX
    if header_bytes + payload_bytes <= class_capacity(SIZE_CLASSES - 1):
        log_retire(log, now_ns)
        if not log_append(log, opcode, payload, payload_bytes, log_wish(log, header_bytes + payload_bytes), now_ns):
            return False
        partial_drop(log.pool, partial)
        return True
    segment_reset(segment, -1)
    # The header's size is known only now: it goes right before the payload, and the data begins there.
    segment.data += FRAME_HEADER_MAX - header_bytes
    segment.capacity = header_bytes + payload_bytes
    frame_write_header(segment.data, opcode, payload_bytes)
    log_link(log, segment, now_ns)
    log_publish_end(log, segment, segment.capacity)
    partial.segment = NULL
    partial.payload_bytes = 0
    return True


# --- looking inside (any thread that holds the segment; `at` is below an `end` it has seen) --------------------------

cdef uint32_t walk_to(Segment *segment, size_t at, size_t *frame_at, uint64_t *time_ns) noexcept nogil:
    """Index of the frame that holds byte `at`, and where that frame begins."""
    cdef uint32_t index = 0
    cdef size_t place = 0
    cdef size_t size
    cdef Mark *mark
    time_ns[0] = segment.first_time_ns
    if segment.marks != NULL:
        mark = segment.marks + at // MARK_STRIDE
        index, place, time_ns[0] = mark.index, mark.at, mark.time_ns
    while True:
        size = frame_size_at(segment.data + place)
        if place + size > at:
            break
        place += size
        index += 1
    frame_at[0] = place
    return index


cdef size_t segment_frame_end(Segment *segment, size_t at) noexcept nogil:
    """Where the frame that byte `at` stands inside ends; `at` itself when a frame begins there."""
    cdef size_t frame_at = 0
    cdef uint64_t time_ns
    if at == 0 or at >= load_acquire(&segment.end):
        return at
    walk_to(segment, at, &frame_at, &time_ns)
    return at if frame_at == at else frame_at + frame_size_at(segment.data + frame_at)


cdef uint64_t segment_offset_at(Segment *segment, size_t at, uint64_t *time_ns) noexcept nogil:
    """Offset of the message that byte `at` belongs to, and about when it was published (a stride of frames early)."""
    cdef size_t frame_at = 0
    if at >= load_acquire(&segment.end):
        time_ns[0] = 0
        return segment.first_offset + segment.frames
    return segment.first_offset + walk_to(segment, at, &frame_at, time_ns)

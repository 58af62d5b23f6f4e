"""Readers in this process: cursors over the log that are read from Python, in batches, by whichever thread asks.

A reader has no socket, so no loop serves it; everything about it happens under its log's lock, and nothing about it
waits. What it is owed is what a subscriber would be owed, and the same rules hold for its lag:

- It holds the log from its place. The readers of a topic have a view of their own, the one behind those of the loops:
  `keep_from`, `done` and `base` are its words for the others, `moving` and `lagging` its part in pacing.
- It is judged when something is appended, by what it was owed before: a single batch is held against nobody. No socket
  could take anything for it, so the one thing that excuses a subscriber, that it was not offered what it lags, cannot
  be. Too far behind, its topic's policy decides. `disconnect` ends it: it lets go of the log, and read() raises an
  error that says so. `skip` moves its place to the oldest message within the bounds; `latest`, which has none, to the
  newest message whenever it was owed something before. `block` makes publishers wait.
- At the memory limit it may be the one to go, as a subscriber may.

Being told. A reader that has everything is `armed`. The next append disarms it and tells it, once: its notifier becomes
readable, and it is put on its ready queue where it has one. So to publish costs a step for each reader that has
everything and nothing for the others (under `latest` a step for each). read() arms it again when it comes to the end;
until then the notifier stays as it is.

A batch is copied without the lock, since Python objects are made meanwhile: `busy` says so. Its place does not move
before readers_finish(), so the segments from there on stay. One that has to go meanwhile goes in readers_finish().

Locks, in this order: the hub's, a log's, a ready list's or an inbox's. The hub lists the topics that have readers, for
those who look at all of them: ticks, and the memory limit.
"""

from libc.stdint cimport UINT64_MAX, int64_t, uint32_t
from libc.string cimport memset

from fastfan._cursor cimport (
    CAUSE_ABORTED, CAUSE_CLOSED, POLICY_LATEST, Skips, View, topic_trim,
)
from fastfan._lag cimport lag_decide_pacing, lag_paced_without
from fastfan._mailbox cimport inbox_nudge
from fastfan._place cimport place_newest
from fastfan._readers_lag cimport (
    readers_is_over, readers_review, readers_review_due, readers_skip_to_newest,
)
from fastfan._ready cimport ready_drop, ready_put
from fastfan._sync cimport (
    add_fetch, load_acquire, mutex_destroy, mutex_init, mutex_lock, mutex_unlock, store_release,
    store_release_pointer,
)
from fastfan._system cimport clock_ns, notifier_open, notifier_signal, notifier_clear


# --- life -----------------------------------------------------------------------------------------------------------

cdef void readers_init(ReaderHub *hub) noexcept nogil:
    memset(hub, 0, sizeof(ReaderHub))
    mutex_init(&hub.lock)


cdef void readers_clear(ReaderHub *hub) noexcept nogil:
    mutex_destroy(&hub.lock)


cdef void readers_open(ReaderHub *hub, ReaderState *reader) noexcept nogil:
    """Places it at the log's end: the next message published is the first it will get."""
    cdef TopicState *topic = reader.topic
    mutex_lock(&hub.lock)
    enlist_topic(hub, topic)
    mutex_unlock(&hub.lock)
    mutex_lock(&topic.log.lock)
    reader.segment = topic.log.tail
    reader.sequence = topic.log.next_sequence if topic.log.tail == NULL else topic.log.tail.sequence
    reader.position, reader.offset = topic.log.end_position, topic.log.next_offset
    reader.took_ns = clock_ns()
    reader.next = topic.readers
    if topic.readers != NULL:
        topic.readers.before = reader
    topic.readers = reader
    reader.listed = True
    store_release(&topic.listeners, topic.listeners + 1)
    topic.viewers |= <uint64_t>1 << topic.loops
    arm(reader)
    tell_needs(topic)
    mutex_unlock(&topic.log.lock)


cdef void enlist_topic(ReaderHub *hub, TopicState *topic) noexcept nogil:
    topic.reader_count += 1
    if topic.reader_count > 1:
        return
    topic.hub_before, topic.hub_next = NULL, hub.topics
    if hub.topics != NULL:
        hub.topics.hub_before = topic
    store_release_pointer(&hub.topics, topic)


cdef void delist_topic(ReaderHub *hub, TopicState *topic) noexcept nogil:
    topic.reader_count -= 1
    if topic.reader_count:
        return
    if topic.hub_next != NULL:
        topic.hub_next.hub_before = topic.hub_before
    if topic.hub_before != NULL:
        topic.hub_before.hub_next = topic.hub_next
    else:
        store_release_pointer(&hub.topics, topic.hub_next)


cdef void readers_close(ReaderHub *hub, ReaderState *reader) noexcept nogil:
    """Ends it for good; to be called once. Its notifier says so to those who wait, and is its caller's to close."""
    mutex_lock(&hub.lock)
    delist_topic(hub, reader.topic)
    mutex_unlock(&hub.lock)
    mutex_lock(&reader.topic.log.lock)
    readers_condemn(reader, CAUSE_CLOSED)
    mutex_unlock(&reader.topic.log.lock)
    if reader.ready != NULL:
        ready_drop(reader.ready, &reader.link)


cdef void readers_end_all(ReaderHub *hub) noexcept nogil:
    """The engine is being closed."""
    cdef TopicState *topic
    mutex_lock(&hub.lock)
    topic = hub.topics
    while topic != NULL:
        mutex_lock(&topic.log.lock)
        while topic.readers != NULL and not topic.readers.cause:
            readers_condemn(topic.readers, CAUSE_ABORTED)
        mutex_unlock(&topic.log.lock)
        topic = topic.hub_next
    mutex_unlock(&hub.lock)


# --- ending (under the log's lock) ----------------------------------------------------------------------------------

cdef void readers_condemn(ReaderState *reader, Cause cause) noexcept nogil:
    """Ends it, now or when its batch is finished; who waits for it is told."""
    if not reader.cause:
        reader.cause = cause
        reader.ended_lag_bytes = reader.topic.log.end_position - reader.position
    if reader.armed:
        disarm(reader)
    elif reader.ready != NULL and cause != CAUSE_CLOSED:
        ready_put(reader.ready, &reader.link)
    if reader.listed and not reader.busy:
        let_go(reader)


cdef void let_go(ReaderState *reader) noexcept nogil:
    cdef TopicState *topic = reader.topic
    cdef View *view = readers_view(topic)
    if reader.before == NULL:
        topic.readers = reader.next
    else:
        reader.before.next = reader.next
    if reader.next != NULL:
        reader.next.before = reader.before
    reader.listed = False
    reader.segment = NULL
    store_release(&topic.listeners, topic.listeners - 1)
    if topic.readers == NULL:
        topic.viewers &= ~(<uint64_t>1 << topic.loops)
        store_release(&view.moving, 0)
        store_release(&view.lagging, 0)
        store_release(&view.over, 0)
    elif reader.lagging or reader.over:
        # The next review counts again; until then it must not hold anybody up.
        store_release(&view.lagging, view.lagging - reader.lagging)
        store_release(&view.over, view.over - reader.over)
        store_release(&view.moving, view.moving - 1)
    reader.moving = reader.lagging = reader.over = False
    tell_needs(topic)
    topic_trim(topic)
    unpace(topic)


cdef void unpace(TopicState *topic) noexcept nogil:
    """Fewer lag. Publishers that need not wait any more are on the loops, which look again."""
    cdef uint32_t index
    if load_acquire(&topic.paced) and lag_decide_pacing(topic, True):
        for index in range(topic.loops):
            inbox_nudge(topic.views[index].inbox)


# --- being told (under the log's lock) ------------------------------------------------------------------------------

cdef void arm(ReaderState *reader) noexcept nogil:
    if reader.armed:
        return
    reader.armed, reader.armed_next = True, reader.topic.armed
    reader.topic.armed = reader
    if reader.fd >= 0:
        notifier_clear(reader.fd)


cdef void tell(ReaderState *reader) noexcept nogil:
    reader.armed = False
    if reader.fd >= 0:
        notifier_signal(reader.signal_fd)
    if reader.ready != NULL:
        ready_put(reader.ready, &reader.link)


cdef void disarm(ReaderState *reader) noexcept nogil:
    cdef ReaderState **place = &reader.topic.armed
    while place[0] != reader:
        place = &place[0].armed_next
    place[0] = reader.armed_next
    tell(reader)


cdef int readers_fileno(ReaderState *reader) noexcept nogil:
    """Its notifier, made when first asked for; or -errno."""
    cdef int signal_fd = -1
    cdef int fd
    mutex_lock(&reader.topic.log.lock)
    fd = reader.fd
    if fd < 0:
        fd = notifier_open(&signal_fd)
        if fd >= 0:
            reader.fd, reader.signal_fd = fd, signal_fd
            if not reader.armed:
                notifier_signal(signal_fd)
    mutex_unlock(&reader.topic.log.lock)
    return fd


cdef void readers_offer(TopicState *topic) noexcept nogil:
    """The log has grown."""
    cdef View *view = readers_view(topic)
    cdef ReaderState *reader
    cdef uint32_t index
    if topic.policy == POLICY_LATEST:
        readers_skip_to_newest(topic)
    elif readers_review_due(topic) and readers_review(topic, clock_ns()):
        for index in range(topic.loops):
            inbox_nudge(topic.views[index].inbox)
    view.pass_end = topic.log.end_position
    topic.offered_offset = topic.log.next_offset
    while topic.armed != NULL:
        reader = topic.armed
        topic.armed = reader.armed_next
        tell(reader)


# --- what they need (under the log's lock) --------------------------------------------------------------------------

cdef void tell_needs(TopicState *topic) noexcept nogil:
    cdef View *view = readers_view(topic)
    cdef ReaderState *reader = topic.readers
    cdef uint64_t keep_from = UINT64_MAX
    cdef uint64_t base = UINT64_MAX
    while reader != NULL:
        # With a lower sequence than the floor it had everything when the log was emptied.
        keep_from = min(keep_from, max(reader.sequence, topic.log.floor))
        if reader.position < base:
            base, topic.readers_at_base = reader.position, 0
        topic.readers_at_base += reader.position == base
        reader = reader.next
    view.done = base
    store_release(&view.keep_from, keep_from)
    store_release(&view.base, base)


cdef void note_move(ReaderState *reader, uint64_t from_position) noexcept nogil:
    """It has moved from there. Only the last of those that were there changes what the log has to keep."""
    cdef TopicState *topic = reader.topic
    if from_position != readers_view(topic).base:
        return
    topic.readers_at_base -= 1
    if topic.readers_at_base == 0:
        tell_needs(topic)
        topic_trim(topic)


cdef void readers_jump(ReaderState *reader, Place *to) noexcept nogil:
    """Moves it forward to a frame of the log, and counts what it goes over; one in the middle of a batch takes that."""
    cdef TopicState *topic = reader.topic
    cdef Skips *skips = readers_view(topic).skips
    cdef uint64_t from_position = reader.position
    cdef uint64_t messages = to.offset - reader.offset
    # One that has read nothing since its last jump makes no new gap.
    cdef bint is_gap = reader.offset != reader.jumped_offset
    if reader.busy or reader.cause or from_position >= to.position:
        return
    add_fetch(&topic.skips.messages, <int64_t>messages)
    add_fetch(&topic.skips.gaps, is_gap)
    add_fetch(&skips.messages, <int64_t>messages)
    add_fetch(&skips.gaps, is_gap)
    reader.segment, reader.sequence = to.segment, to.segment.sequence
    reader.position, reader.offset, reader.jumped_offset = to.position, to.offset, to.offset
    note_move(reader, from_position)


# --- reading (the program's threads) --------------------------------------------------------------------------------

cdef ReaderPlace readers_place(ReaderState *reader) noexcept nogil:
    cdef ReaderPlace place
    mutex_lock(&reader.topic.log.lock)
    place.cause, place.offset = reader.cause, reader.offset
    place.lag_bytes = reader.ended_lag_bytes if reader.cause else reader.topic.log.end_position - reader.position
    mutex_unlock(&reader.topic.log.lock)
    return place


cdef bint readers_paced_for_others(ReaderState *reader) noexcept nogil:
    """Whether publishers of the topic are held back, this one left aside."""
    cdef TopicState *topic = reader.topic
    cdef bint paced
    if not load_acquire(&topic.paced):
        return False
    mutex_lock(&topic.log.lock)
    paced = lag_paced_without(topic, reader.moving, reader.lagging, reader.over)
    mutex_unlock(&topic.log.lock)
    return paced


cdef Begun readers_begin(ReaderState *reader, ReadBatch *batch) noexcept nogil:
    """What is there now. BEGUN: copy it out, then readers_finish()."""
    cdef Begun begun = BEGUN
    mutex_lock(&reader.topic.log.lock)
    batch.position, batch.until, batch.messages = reader.position, reader.topic.log.end_position, 0
    if reader.busy:
        begun = BUSY
    elif reader.cause:
        begun = ENDED
    elif batch.position == batch.until:
        begun = AT_END
    else:
        reader.busy = True
        readers_locate(reader)
        batch.segment, batch.at = reader.segment, reader.position - reader.segment.base
    mutex_unlock(&reader.topic.log.lock)
    return begun


cdef void readers_locate(ReaderState *reader) noexcept nogil:
    # It is owed something, so the segment is there; its own from before may be gone, when the log was emptied.
    cdef Segment *segment = reader.segment
    if segment == NULL or reader.sequence < reader.topic.log.floor:
        segment = reader.topic.log.head
    while reader.position >= segment.base + segment.end:
        segment = segment.next
    reader.segment, reader.sequence = segment, segment.sequence


cdef bint readers_finish(ReaderState *reader, ReadBatch *batch) noexcept nogil:
    """The batch was copied as far as it says. True: it has made room, in the log or for publishers."""
    cdef TopicState *topic = reader.topic
    cdef bint paced = load_acquire(&topic.paced)
    cdef Segment *head
    cdef Place newest
    mutex_lock(&topic.log.lock)
    head = topic.log.head
    reader.busy = False
    if batch.messages:
        advance(reader, batch)
    if topic.policy == POLICY_LATEST and not reader.cause and reader.position < topic.log.end_position:
        # It came during the batch, when the reader could not jump.
        if place_newest(&topic.log, &newest):
            readers_jump(reader, &newest)
    if reader.cause:
        let_go(reader)
    elif reader.position == topic.log.end_position:
        arm(reader)
    elif reader.ready != NULL:
        ready_put(reader.ready, &reader.link)
    paced = paced and not load_acquire(&topic.paced)
    paced = paced or head != topic.log.head
    mutex_unlock(&topic.log.lock)
    return paced


cdef void advance(ReaderState *reader, ReadBatch *batch) noexcept nogil:
    cdef uint64_t from_position = reader.position
    cdef View *view = readers_view(reader.topic)
    reader.segment, reader.sequence = batch.segment, batch.segment.sequence
    reader.position = batch.position
    reader.offset += batch.messages
    reader.took_ns = clock_ns()
    note_move(reader, from_position)
    if reader.lagging and reader.topic.log.end_position - reader.position <= reader.topic.pace_lag_bytes:
        reader.lagging = False
        store_release(&view.lagging, view.lagging - 1)
        unpace(reader.topic)
    if reader.over and not readers_is_over(reader, reader.took_ns):
        reader.over = False
        store_release(&view.over, view.over - 1)
        unpace(reader.topic)

"""One turn of the loop: what the sockets have to say, what the shell asks, what the logs owe.

    poll ──► read (lend to the shell) ──► commands ──► one slice of the fan-out ──► lag rules ──► graves ──┐
     ▲                                                                                                     │
     └──────────────────────────── until nothing is left, or the budget is spent ──────────────────────────┘

Rules kept here:
- Only this loop's thread touches its sinks and views; others leave commands. No Python object, no GIL, in any of it.
- A pass over a topic's cursors is cut into slices of about a millisecond with a poll between them, and topics take
  turns. What is published meanwhile is picked up by those not yet served, in the same system call.
- Nothing dies under an iterator: a connection that ends goes to `graves`, and is freed after the round.
- A readable connection is read only when Python has none of its bytes (`lent`), its control frames are not piling up,
  and, for a publisher, its topic is not paced and memory is not short.
- Deadlines do not compare times, they add up what passed, and a step counts at most twice its usual length. So time in
  which this process, or its host's Python, stood still is held against nobody.
"""

from libc.errno cimport EAGAIN
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastfan._cursor cimport (
    CAUSE_ABORTED, CAUSE_CLOSE_TIMEOUT, CAUSE_CLOSED, CAUSE_LEFT, CAUSE_MEMORY, CAUSE_NO_PONG, CAUSE_NONE, CAUSE_RESET,
    CAUSE_STALLED, CLOSING, CONDEMNED, FREE, GONE, OPEN, ATTACHED, PEER_CLOSED, PING_NONE, PING_QUEUED, PING_TAKEN,
    ROLE_PUBLISHER, ROLE_SUBSCRIBER, Cause, View, cursor_abandon, cursor_admit, cursor_leave, cursor_unpin, view_resolve,
    view_trim,
)
from fastfan._lag cimport lag_farthest, lag_holds, lag_review, lag_review_due, lag_span
from fastfan._log cimport (
    FRAME_PING, Segment, add_fetch, exchange_full, frame_write_header, load_acquire, mutex_lock, mutex_unlock,
    store_release,
)
from fastfan._mailbox cimport (
    COMMAND_ABORT, COMMAND_BEAT, COMMAND_CLOSE, COMMAND_RESUME, COMMAND_SEND, COMMAND_START, COMMAND_WANT_ROOM,
    EVENT_CONDEMNED, EVENT_DEPARTED, EVENT_LENT, EVENT_ROOM, THEN_DISCARD, Command, inbox_awake, inbox_clear,
    inbox_init, inbox_sleep, inbox_take, outbox_clear, outbox_init, outbox_put, poller_event,
)
from fastfan._sink cimport (
    BLOCKED, DEAD, DRAINED, MORE, Flush, sink_control_left, sink_flush, sink_free_buffers, sink_move, sink_owes,
    sink_queue_close, sink_queue_control,
)
from fastfan._table cimport table_at, table_clear, table_drop, table_find, table_init


cdef extern from "clock.h" nogil:
    uint64_t clock_ns()

cdef extern from "poller.h" nogil:
    enum:
        READY_READ, READY_WRITE, READY_HANGUP
    uint64_t POLLER_WAKE
    uint64_t POLLER_TICK
    int poller_open(poller *poll)
    void poller_close(poller *poll)
    int poller_add(poller *poll, int fd, uint64_t token)
    int poller_remove(poller *poll, int fd)
    int poller_wait(poller *poll, poller_event *events, int count, int timeout_ms)
    void poller_wake(poller *poll)
    int poller_tick(poller *poll, uint64_t interval_ns)

cdef extern from "wire.h" nogil:
    int wire_prepare(int fd, int notsent_bytes)
    ssize_t wire_receive(int fd, void *buffer, size_t nbytes)
    void wire_finish(int fd)
    void wire_close(int fd)
    void wire_reset(int fd)

cdef enum:
    SLICE_NS = 1_000_000
    POLLED_AT_ONCE = 64         # ready sockets between two looks at the rest: about a slice of flushing
    CHUNK_BYTES = 65536         # most that one connection lends at a time
    CONTROL_BACKLOG = 4096      # bytes of waiting control frames beyond which a connection is not read
    CALLS_AT_ONCE = 4           # sends to one connection before the next has its turn
    EVICT_FROM_BYTES = 65536    # closing a cursor of a smaller log would free next to nothing
    TICK_MAX_NS = 250_000_000
    TICK_MIN_NS = 5_000_000


# --- life -----------------------------------------------------------------------------------------------------------

cdef int loop_init(Loop *loop, Pool *pool, uint64_t write_timeout_ns, uint64_t close_deadline_ns,
                   int notsent_bytes, uint64_t seed) noexcept nogil:
    """0 or -errno; after an error nothing is left open."""
    cdef int result
    memset(loop, 0, sizeof(Loop))
    loop.pool = pool
    loop.write_timeout_ns, loop.close_deadline_ns = write_timeout_ns, close_deadline_ns
    loop.notsent_bytes = notsent_bytes
    loop.random = seed | 1
    loop.tick_ns = max(<uint64_t>TICK_MIN_NS, min(<uint64_t>TICK_MAX_NS, min(write_timeout_ns, close_deadline_ns) // 8))
    result = poller_open(&loop.poll)
    if result < 0:
        return result
    result = outbox_init(&loop.outbox)
    if result < 0:
        poller_close(&loop.poll)
        return result
    loop.buffer = <uint8_t *>malloc(CHUNK_BYTES)
    inbox_init(&loop.inbox, &loop.poll)
    table_init(&loop.table)
    return 0


cdef void loop_clear(Loop *loop) noexcept nogil:
    """After loop_abort_all(): gives back what is left."""
    inbox_clear(&loop.inbox)
    outbox_clear(&loop.outbox)
    table_clear(&loop.table)
    poller_close(&loop.poll)
    free(loop.buffer)


cdef void loop_abort_all(Loop *loop) noexcept nogil:
    cdef uint32_t slot
    cdef Sink *sink
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if sink.state == ATTACHED:
            loop_abandon(loop, sink)
        elif sink.state != FREE and sink.state != GONE:
            end(loop, sink, CAUSE_ABORTED, True)
    bury(loop)


cdef void loop_abandon(Loop *loop, Sink *sink) noexcept nogil:
    """Undoes attach() for a connection that never started."""
    cdef TopicState *topic = sink.topic
    mutex_lock(&topic.log.lock)
    if sink.joining:
        cursor_abandon(topic, sink)
    drop_client(topic, loop.now_ns)
    mutex_unlock(&topic.log.lock)
    table_drop(&loop.table, sink)
    view_trim(topic)


cdef void drop_client(TopicState *topic, uint64_t now_ns) noexcept nogil:
    # Under the log's lock.
    topic.clients -= 1
    if topic.clients == 0:
        topic.idle_since_ns = clock_ns()


# --- the end of a connection ----------------------------------------------------------------------------------------

cdef void end(Loop *loop, Sink *sink, Cause cause, bint reset) noexcept nogil:
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
        leave_view(loop, sink, False)
    if sink.pinning:
        cursor_unpin(topic, sink)
    sink_free_buffers(sink)
    return_lent(loop, sink)
    sink_move(sink, GONE)
    mutex_lock(&topic.log.lock)
    drop_client(topic, loop.now_ns)
    mutex_unlock(&topic.log.lock)
    outbox_put(&loop.outbox, EVENT_DEPARTED, sink.token, sink.cause, close_sent, NULL, 0)
    sink.grave_next = loop.graves
    loop.graves = sink


cdef void bury(Loop *loop) noexcept nogil:
    cdef Sink *sink
    while loop.graves != NULL:
        sink = loop.graves
        loop.graves = sink.grave_next
        if sink.held:
            unhold(loop, sink)
        table_drop(&loop.table, sink)


cdef void leave_view(Loop *loop, Sink *sink, bint keep_frame) noexcept nogil:
    cursor_leave(sink.topic, sink, keep_frame)
    note_live(loop, sink.topic)


cdef void condemn(Loop *loop, Sink *sink, Cause cause) noexcept nogil:
    """The engine wants it closed: its hold on the log ends here, the shell is asked for the Close."""
    if not sink_move(sink, CONDEMNED):
        return
    sink.cause = cause
    sink.close_left_ns = loop.close_deadline_ns
    if sink.in_view:
        leave_view(loop, sink, True)
    outbox_put(&loop.outbox, EVENT_CONDEMNED, sink.token, cause, 0, NULL, 0)


cdef void condemn_doomed(Loop *loop) noexcept nogil:
    cdef Sink *sink
    while loop.doomed != NULL:
        sink = loop.doomed
        loop.doomed = sink.doomed_next
        condemn(loop, sink, sink.cause)


# --- reading --------------------------------------------------------------------------------------------------------

cdef void return_lent(Loop *loop, Sink *sink) noexcept nogil:
    add_fetch(&loop.pool.used_bytes, -<int64_t>sink.lent_bytes)
    sink.lent_bytes = 0
    sink.lent = False


cdef bint memory_short(Loop *loop) noexcept nogil:
    # Publishers are held from four fifths of the limit on.
    return load_acquire(&loop.pool.used_bytes) >= loop.pool.limit_bytes // 5 * 4


cdef bint must_wait(Loop *loop, Sink *sink) noexcept nogil:
    if not sink.role & ROLE_PUBLISHER:
        return False
    return lag_holds(sink.topic, sink) or memory_short(loop)


cdef void hold(Loop *loop, Sink *sink) noexcept nogil:
    if not sink.held:
        loop.counters.held_publishers += 1
        sink.held = True
        sink.held_next = loop.held
        loop.held = sink


cdef void unhold(Loop *loop, Sink *sink) noexcept nogil:
    cdef Sink **place = &loop.held
    while place[0] != sink:
        place = &place[0].held_next
    place[0] = sink.held_next
    sink.held = False


cdef void release_held(Loop *loop) noexcept nogil:
    """Reads the publishers that waited, as far as they need not wait any more."""
    cdef Sink *sink = loop.held
    cdef Sink *following
    loop.held = NULL
    while sink != NULL:
        following = sink.held_next
        sink.held = False
        if sink.state != GONE:
            receive(loop, sink)
        sink = following


cdef void receive(Loop *loop, Sink *sink) noexcept nogil:
    """Reads one chunk and lends it to the shell, unless the connection has to wait."""
    cdef ssize_t got
    if sink.state == PEER_CLOSED:
        discard(loop, sink)
        return
    if sink.lent or not sink.readable or sink.held or sink_control_left(sink) > CONTROL_BACKLOG:
        return
    if must_wait(loop, sink):
        hold(loop, sink)
        return
    got = wire_receive(sink.fd, loop.buffer, CHUNK_BYTES)
    if got > 0:
        loop.counters.received_bytes += <uint64_t>got
        # A short read emptied the socket; the end of the stream, once told, is still to be read.
        sink.readable = got == CHUNK_BYTES or sink.hangup
        sink.ping = PING_NONE if sink.ping == PING_TAKEN else sink.ping
        lend(loop, sink, loop.buffer, <uint32_t>got)
    elif got == -EAGAIN:
        sink.readable = False
    elif got == 0:
        end(loop, sink, CAUSE_CLOSED if sink.close_sent else CAUSE_LEFT, False)
    else:
        end(loop, sink, CAUSE_RESET, False)


cdef void lend(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    sink.lent, sink.lent_bytes = True, data_bytes
    add_fetch(&loop.pool.used_bytes, data_bytes)
    if not outbox_put(&loop.outbox, EVENT_LENT, sink.token, 0, 0, data, data_bytes):
        end(loop, sink, CAUSE_MEMORY, True)


cdef void discard(Loop *loop, Sink *sink) noexcept nogil:
    """Nothing more is wanted from this peer but its end of the stream."""
    cdef ssize_t got = 1
    cdef int calls = 0
    while got > 0 and calls < CALLS_AT_ONCE:
        got = wire_receive(sink.fd, loop.buffer, CHUNK_BYTES)
        calls += 1
    if got == -EAGAIN:
        sink.readable = False
    elif got <= 0:
        end(loop, sink, CAUSE_CLOSED, False)


# --- writing --------------------------------------------------------------------------------------------------------

cdef void flush(Loop *loop, Sink *sink) noexcept nogil:
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
        mark_dirty(loop, sink.topic)
    if was_viewed and not sink.in_view:
        note_live(loop, sink.topic)
    if had_close and sink.close_sent and sink.state == PEER_CLOSED:
        wire_finish(sink.fd)
    if sink.readable:
        receive(loop, sink)


cdef void mark_dirty(Loop *loop, TopicState *topic) noexcept nogil:
    # From the loop itself: no lock and no wake-up.
    if exchange_full(&topic.queued, 1) == 0:
        add_dirty(loop, topic, topic)


cdef void add_dirty(Loop *loop, TopicState *first, TopicState *last) noexcept nogil:
    if first == NULL:
        return
    last.dirty_next = NULL
    if loop.dirty == NULL:
        loop.dirty = first
    else:
        loop.dirty_last.dirty_next = first
    loop.dirty_last = last


cdef void fan_out(Loop *loop) noexcept nogil:
    """One slice of the pass over the first dirty topic."""
    cdef TopicState *topic = loop.dirty
    cdef View *view = &topic.view
    cdef uint64_t slice_ends_ns = loop.now_ns + SLICE_NS
    cdef Sink *sink
    loop.dirty = topic.dirty_next
    # From here on a new message marks the topic again.
    exchange_full(&topic.queued, 0)
    if not view.in_pass:
        view.in_pass, view.next = True, 0
        view.pass_end = load_acquire(&topic.log.end_position)
        view_resolve(topic)
    while view.next < view.count:
        sink = view.sinks[view.next]
        view.next += 1
        if not sink.blocked:
            flush(loop, sink)
            loop.now_ns = clock_ns()
            if loop.now_ns >= slice_ends_ns:
                break
    if view.next < view.count:
        mark_dirty(loop, topic)
    else:
        end_pass(loop, topic)
    note_lag(loop, topic)


cdef void end_pass(Loop *loop, TopicState *topic) noexcept nogil:
    cdef View *view = &topic.view
    cdef uint64_t end_position = load_acquire(&topic.log.end_position)
    view.in_pass, view.next = False, 0
    view_trim(topic)
    # Whoever was served before the log grew during the pass is owed the rest.
    if end_position != view.pass_end and (view.at_top < view.count or view.top < end_position):
        mark_dirty(loop, topic)


# --- the lag rules --------------------------------------------------------------------------------------------------

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


cdef void note_lag(Loop *loop, TopicState *topic) noexcept nogil:
    if lag_review_due(topic, loop.now_ns):
        lag_review(topic, loop.now_ns, &loop.doomed)


cdef void review_all(Loop *loop) noexcept nogil:
    """Applies the lag rules where nothing else would: to topics whose cursors all stand still."""
    cdef TopicState *topic = loop.live
    while topic != NULL:
        lag_review(topic, loop.now_ns, &loop.doomed)
        topic = topic.live_next
    announce_room(loop)


cdef void apply_limits(Loop *loop) noexcept nogil:
    """Carries out what the reviews found, and the memory limit."""
    condemn_doomed(loop)
    while load_acquire(&loop.pool.used_bytes) >= loop.pool.limit_bytes and evict(loop):
        continue
    if loop.held != NULL:
        release_held(loop)
        if loop.held == NULL:
            announce_room(loop)


cdef void announce_room(Loop *loop) noexcept nogil:
    # Those who wait look for themselves whether the room is theirs, and ask again if not.
    if loop.room_wanted and not memory_short(loop):
        loop.room_wanted = False
        outbox_put(&loop.outbox, EVENT_ROOM, 0, 0, 0, NULL, 0)


cdef bint evict(Loop *loop) noexcept nogil:
    """Condemns the farthest cursor of the largest log; False when no log holds anything worth it."""
    cdef TopicState *topic = loop.live
    cdef TopicState *largest = NULL
    cdef Sink *victim = NULL
    cdef uint64_t most = EVICT_FROM_BYTES
    while topic != NULL:
        if lag_span(topic) > most:
            largest, most = topic, lag_span(topic)
        topic = topic.live_next
    if largest != NULL:
        victim = lag_farthest(largest)
    if victim == NULL:
        return False
    condemn(loop, victim, CAUSE_MEMORY)
    return True


# --- time -----------------------------------------------------------------------------------------------------------

cdef void tick(Loop *loop) noexcept nogil:
    """Advances the clocks of the stalled and the closing."""
    cdef uint64_t step_ns = min(loop.now_ns - loop.last_tick_ns, 2 * loop.tick_ns)
    cdef uint32_t slot
    cdef bint exchanged
    cdef Sink *sink
    loop.last_tick_ns = loop.now_ns
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if sink.state == FREE or sink.state == ATTACHED or sink.state == GONE:
            continue
        if sink.state != OPEN:
            if sink.close_left_ns <= step_ns:
                exchanged = sink.state == PEER_CLOSED and sink.close_sent
                end(loop, sink, CAUSE_CLOSED if exchanged else CAUSE_CLOSE_TIMEOUT, True)
                continue
            sink.close_left_ns -= step_ns
        elif sink.blocked and sink_owes(sink):
            sink.stalled_ns += step_ns
            if sink.stalled_ns >= loop.write_timeout_ns:
                condemn(loop, sink, CAUSE_STALLED)
        if sink.readable and not sink.held:
            receive(loop, sink)
    if load_acquire(&loop.table.used) == 0:
        poller_tick(&loop.poll, 0)
        loop.ticking = False


cdef void start_ticking(Loop *loop) noexcept nogil:
    if not loop.ticking:
        poller_tick(&loop.poll, loop.tick_ns)
        loop.ticking, loop.last_tick_ns = True, loop.now_ns


cdef uint64_t random_below(Loop *loop, uint64_t bound) noexcept nogil:
    # xorshift64 (Marsaglia, 2003): spreads pings, nothing secret.
    loop.random ^= loop.random << 13
    loop.random ^= loop.random >> 7
    loop.random ^= loop.random << 17
    return loop.random % bound if bound else 0


cdef void beat(Loop *loop, uint64_t interval_ns, uint64_t deadline_ns, uint64_t longest_ns) noexcept nogil:
    """Pings who is due and condemns who did not answer. A peer's time runs only while nothing of ours is in its way."""
    cdef uint64_t step_ns = min(loop.now_ns - loop.last_beat_ns, longest_ns)
    cdef uint32_t slot
    cdef uint8_t ping[2]
    cdef Sink *sink
    loop.last_beat_ns = loop.now_ns
    frame_write_header(ping, FRAME_PING, 0)
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if sink.state != OPEN:
            continue
        if sink.ping == PING_TAKEN and not (sink.blocked or sink.lent or sink.held):
            sink.pong_waited_ns += step_ns
            if sink.pong_waited_ns > deadline_ns:
                condemn(loop, sink, CAUSE_NO_PONG)
                continue
        if sink.until_ping_ns == 0:
            sink.until_ping_ns = 1 + random_below(loop, interval_ns)
        elif sink.until_ping_ns > step_ns:
            sink.until_ping_ns -= step_ns
        elif sink.ping == PING_NONE and sink_queue_control(sink, ping, 2):
            sink.ping, sink.until_ping_ns = PING_QUEUED, interval_ns
            loop.counters.pings += 1
            flush(loop, sink)


# --- commands -------------------------------------------------------------------------------------------------------

cdef void start(Loop *loop, Sink *sink, Command *command) noexcept nogil:
    cdef uint32_t head_bytes = <uint32_t>command.b
    cdef int result
    sink.fd = <int>command.a
    result = wire_prepare(sink.fd, loop.notsent_bytes)
    if result == 0:
        result = poller_add(&loop.poll, sink.fd, sink.token)
    sink_move(sink, OPEN)
    if sink.role & ROLE_SUBSCRIBER and not cursor_admit(sink.topic, sink):
        result = -1
    sink.took_ns = loop.now_ns
    note_live(loop, sink.topic)
    start_ticking(loop)
    if result < 0 or (head_bytes and not sink_queue_control(sink, command.data, head_bytes)):
        if sink.joining:
            mutex_lock(&sink.topic.log.lock)
            cursor_abandon(sink.topic, sink)
            mutex_unlock(&sink.topic.log.lock)
        end(loop, sink, CAUSE_RESET, True)
        return
    sink.readable = True
    if command.data_bytes > head_bytes:
        lend(loop, sink, command.data + head_bytes, command.data_bytes - head_bytes)
    view_resolve(sink.topic)
    flush(loop, sink)
    view_trim(sink.topic)


cdef void close(Loop *loop, Sink *sink, Command *command) noexcept nogil:
    cdef bint discards = command.a == THEN_DISCARD
    if not sink_move(sink, PEER_CLOSED if discards else CLOSING):
        return
    sink.close_left_ns = command.c if command.c else loop.close_deadline_ns
    if command.data_bytes:
        view_resolve(sink.topic)
        sink_queue_close(sink, command.data, command.data_bytes, command.b != 0)
        note_live(loop, sink.topic)
    if discards:
        if sink.in_view and sink.close == NULL:
            leave_view(loop, sink, False)
        # What Python may still hold of it is of no use any more.
        return_lent(loop, sink)
        sink.readable = True
        if sink.close_sent or sink.write_dead:
            wire_finish(sink.fd)
    flush(loop, sink)


cdef void execute(Loop *loop, Command *command) noexcept nogil:
    cdef Sink *sink
    if command.kind == COMMAND_BEAT:
        beat(loop, command.a, command.b, command.c)
        return
    if command.kind == COMMAND_WANT_ROOM:
        loop.room_wanted = True
        return
    sink = table_find(&loop.table, command.token)
    if sink == NULL or sink.state == GONE:
        return
    if command.kind == COMMAND_START:
        start(loop, sink, command)
    elif command.kind == COMMAND_ABORT:
        if sink.state == ATTACHED:
            loop_abandon(loop, sink)
        else:
            end(loop, sink, CAUSE_ABORTED, True)
    elif command.kind == COMMAND_SEND:
        if sink.state == OPEN and sink_queue_control(sink, command.data, command.data_bytes):
            flush(loop, sink)
    elif command.kind == COMMAND_CLOSE:
        close(loop, sink, command)
    elif command.kind == COMMAND_RESUME:
        return_lent(loop, sink)
        receive(loop, sink)


cdef void run_commands(Loop *loop) noexcept nogil:
    cdef Command *command = NULL
    cdef Command *done
    cdef TopicState *dirty = NULL
    cdef TopicState *dirty_last = NULL
    inbox_take(&loop.inbox, &command, &dirty, &dirty_last)
    add_dirty(loop, dirty, dirty_last)
    while command != NULL:
        execute(loop, command)
        done = command
        command = command.next
        free(done)


# --- the turn -------------------------------------------------------------------------------------------------------

cdef void on_ready(Loop *loop, uint64_t token, uint32_t ready) noexcept nogil:
    cdef Sink *sink = table_find(&loop.table, token)
    if sink == NULL or sink.state == GONE:
        return
    if ready & READY_HANGUP:
        sink.hangup = True
    if ready & READY_READ:
        sink.readable = True
    if ready & READY_WRITE and sink.blocked:
        sink.blocked = False
        view_resolve(sink.topic)
        flush(loop, sink)
        view_trim_after(sink)
        note_lag(loop, sink.topic)
    elif sink.readable:
        receive(loop, sink)


cdef inline void view_trim_after(Sink *sink) noexcept nogil:
    # Only the last of the slow changes what the log has to keep.
    cdef View *view = &sink.topic.view
    if view.oldest != NULL and (view.at_top == view.count or view.oldest.sequence > sink.topic.log.head.sequence):
        view_trim(sink.topic)


cdef int poll_once(Loop *loop) noexcept nogil:
    cdef poller_event events[POLLED_AT_ONCE]
    cdef int count = poller_wait(&loop.poll, events, POLLED_AT_ONCE, 0)
    cdef int index
    loop.now_ns = clock_ns()
    for index in range(count):
        if events[index].token == POLLER_TICK:
            loop.tick_due_ns = loop.now_ns
        elif events[index].token != POLLER_WAKE:
            on_ready(loop, events[index].token, events[index].ready)
    return count


cdef void tick_when_due(Loop *loop, bint polled_all) noexcept nogil:
    """Judges only after everything that was ready has been looked at; but not never, however much there is."""
    if loop.tick_due_ns and (polled_all or loop.now_ns - loop.tick_due_ns > loop.tick_ns):
        loop.tick_due_ns = 0
        tick(loop)
        review_all(loop)


cdef void loop_turn(Loop *loop, uint64_t budget_ns) noexcept nogil:
    """Does what there is to do, for about `budget_ns`; with work left over, the poller's descriptor stays readable."""
    cdef uint64_t started_ns = clock_ns()
    cdef int count
    loop.counters.turns += 1
    inbox_awake(&loop.inbox)
    while True:
        count = poll_once(loop)
        run_commands(loop)
        if loop.dirty != NULL:
            fan_out(loop)
        tick_when_due(loop, count < POLLED_AT_ONCE)
        apply_limits(loop)
        bury(loop)
        if loop.dirty == NULL and count < POLLED_AT_ONCE and inbox_sleep(&loop.inbox):
            return
        if loop.now_ns - started_ns >= budget_ns:
            break
    inbox_sleep(&loop.inbox)
    poller_wake(&loop.poll)

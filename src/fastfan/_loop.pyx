"""One turn of the loop: what the sockets have to say, what the shell asks, what the logs owe.

    poll ──► read (lend to the shell) ──► orders ──► one slice of the fan-out ──► clocks ──► limits ──► graves ──┐
     ▲                                                                                                           │
     └──────────────────────────── until nothing is left, or the budget is spent ────────────────────────────────┘

Only this loop's thread touches its sinks and views; others leave commands. No Python object, no GIL, in any of it.
"""

from libc.errno cimport ENOMEM
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastfan._clocks cimport clocks_judge
from fastfan._connection cimport (
    connection_abandon, connection_end, connection_flush, connection_receive, connections_bury, connections_read_on,
)
from fastfan._cursor cimport ATTACHED, CAUSE_ABORTED, FREE, GONE, Sink, TopicState, View, view_resolve, view_trim
from fastfan._dirty cimport dirty_add
from fastfan._fanout cimport fanout_slice
from fastfan._limits cimport limits_apply, limits_note_lag
from fastfan._sync cimport load_acquire
from fastfan._mailbox cimport (
    Command, inbox_awake, inbox_clear, inbox_init, inbox_shut, inbox_sleep, inbox_take,
    outbox_clear, outbox_init, outbox_shut, poller_event,
)
from fastfan._orders cimport orders_execute, orders_refuse
from fastfan._table cimport table_at, table_clear, table_find, table_init


cdef extern from "clock.h" nogil:
    uint64_t clock_ns()

cdef extern from "poller.h" nogil:
    enum:
        READY_READ, READY_WRITE, READY_HANGUP
    uint64_t POLLER_WAKE
    uint64_t POLLER_TICK
    int poller_open(poller *poll)
    void poller_close(poller *poll)
    int poller_wait(poller *poll, poller_event *events, int count, int timeout_ms)
    void poller_wake(poller *poll)

cdef enum:
    POLLED_AT_ONCE = 64         # ready sockets between two looks at the rest: about a slice of flushing
    TICK_MAX_NS = 250_000_000
    TICK_MIN_NS = 5_000_000


# --- life -----------------------------------------------------------------------------------------------------------

cdef int loop_init(Loop *loop, Pool *pool, uint64_t write_timeout_ns, uint64_t close_deadline_ns,
                   int notsent_bytes, size_t lane_bytes, uint64_t seed) noexcept nogil:
    """0 or -errno; after an error nothing is left open."""
    cdef int result
    memset(loop, 0, sizeof(Loop))
    loop.pool = pool
    loop.write_timeout_ns, loop.close_deadline_ns = write_timeout_ns, close_deadline_ns
    loop.notsent_bytes, loop.lane_bytes = notsent_bytes, lane_bytes
    loop.random = seed | 1
    loop.tick_ns = max(<uint64_t>TICK_MIN_NS, min(<uint64_t>TICK_MAX_NS, min(write_timeout_ns, close_deadline_ns) // 8))
    result = poller_open(&loop.poll)
    if result < 0:
        return result
    result = outbox_init(&loop.outbox)
    if result < 0:
        poller_close(&loop.poll)
        return result
    loop.buffer = <uint8_t *>malloc(LANE_FRAME_BYTES + CHUNK_BYTES)
    if loop.buffer == NULL:
        outbox_shut(&loop.outbox)
        poller_close(&loop.poll)
        return -ENOMEM
    inbox_init(&loop.inbox, &loop.poll)
    table_init(&loop.table)
    return 0


cdef void loop_clear(Loop *loop) noexcept nogil:
    """Gives back the memory."""
    if loop.inbox.waker != NULL:
        loop_shut(loop)
    inbox_clear(&loop.inbox)
    outbox_clear(&loop.outbox)
    table_clear(&loop.table)
    free(loop.buffer)


cdef void loop_shut(Loop *loop) noexcept nogil:
    """Resets every connection and closes the loop's own descriptors. Nothing turns it afterwards."""
    cdef uint32_t slot
    cdef Sink *sink
    cdef Command *command = NULL
    cdef Command *done
    cdef TopicState *dirty = NULL
    inbox_take(&loop.inbox, &command, &dirty, &dirty)
    while command != NULL:
        orders_refuse(loop, command)
        done, command = command, command.next
        free(done)
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if sink.state == ATTACHED:
            connection_abandon(loop, sink)
        elif sink.state != FREE and sink.state != GONE:
            connection_end(loop, sink, CAUSE_ABORTED, True)
    connections_bury(loop)
    inbox_shut(&loop.inbox)
    outbox_shut(&loop.outbox)
    poller_close(&loop.poll)


# --- the turn -------------------------------------------------------------------------------------------------------

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
            fanout_slice(loop)
        clocks_judge(loop, count < POLLED_AT_ONCE)
        limits_apply(loop)
        connections_bury(loop)
        if loop.dirty == NULL and loop.reading == NULL and count < POLLED_AT_ONCE and inbox_sleep(&loop.inbox):
            return
        if loop.now_ns - started_ns >= budget_ns:
            break
    inbox_sleep(&loop.inbox)
    poller_wake(&loop.poll)


cdef int poll_once(Loop *loop) noexcept nogil:
    cdef poller_event events[POLLED_AT_ONCE]
    cdef int count = poller_wait(&loop.poll, events, POLLED_AT_ONCE, 0)
    cdef int index
    loop.now_ns = clock_ns()
    connections_read_on(loop)
    for index in range(count):
        if events[index].token == POLLER_TICK:
            loop.tick_due_ns = loop.now_ns
        elif events[index].token != POLLER_WAKE:
            on_ready(loop, events[index].token, events[index].ready)
    return count


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
        connection_flush(loop, sink)
        view_trim_after(sink)
        limits_note_lag(loop, sink.topic)
    elif sink.readable:
        connection_receive(loop, sink)


cdef inline void view_trim_after(Sink *sink) noexcept nogil:
    # Only the last of the slow changes what the log has to keep.
    cdef View *view = &sink.topic.view
    if view.oldest != NULL and (view.at_top == view.count or view.oldest.sequence > sink.topic.log.head.sequence):
        view_trim(sink.topic)


cdef void run_commands(Loop *loop) noexcept nogil:
    cdef Command *command = NULL
    cdef Command *done
    cdef TopicState *dirty = NULL
    cdef TopicState *dirty_last = NULL
    inbox_take(&loop.inbox, &command, &dirty, &dirty_last)
    dirty_add(loop, dirty, dirty_last)
    while command != NULL:
        orders_execute(loop, command)
        done = command
        command = command.next
        free(done)

"""One turn of the loop: what the sockets have to say, what the shell asks, what the logs owe.

    poll ──► read (lend to the shell) ──► orders ──► one slice of the fan-out ──► clocks ──► limits ──► graves ──┐
     ▲                                                                                                           │
     └──────────────────────────── until nothing is left, or the budget is spent ────────────────────────────────┘

An I/O thread runs rounds without end and sleeps in the poll (loop_run); without one, the host's loop calls for rounds
when the poller's descriptor is readable (loop_turn). Only the thread in a round touches the loop's sinks and views;
others leave commands, mark views dirty, or nudge. No Python object, no GIL, in any of it.
"""

from libc.errno cimport ENOMEM
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.unistd cimport usleep

from fastfan._clocks cimport clocks_judge, clocks_on_tick
from fastfan._connection cimport (
    connection_abandon, connection_end, connection_flush, connection_receive, connections_bury, connections_read_on,
)
from fastfan._cursor cimport ATTACHED, CAUSE_ABORTED, GONE, Sink
from fastfan._dirty cimport dirty_add
from fastfan._fanout cimport fanout_serve_again, fanout_slice
from fastfan._limits cimport limits_apply
from fastfan._sync cimport count_up, load_acquire, store_release
from fastfan._mailbox cimport (
    Command, inbox_at_rest, inbox_awake, inbox_clear, inbox_init, inbox_nudge, inbox_orphan, inbox_shut, inbox_sleep,
    inbox_take,
)
from fastfan._orders cimport orders_execute, orders_refuse
from fastfan._rates cimport rates_note_pause
from fastfan._system cimport (
    clock_ns, poller_event, READY_READ, READY_WRITE, READY_HANGUP, POLLER_WAKE, POLLER_TICK, poller_open, poller_close,
    poller_wait, poller_wake, wire_abandon,
)
from fastfan._table cimport table_at, table_clear, table_find, table_init


cdef enum:
    POLLED_AT_ONCE = 64         # ready sockets that one poll tells of
    POLLING_NS = 500_000        # for so long polls with that many follow each other: half a slice
    POLLED_BYTES = 1 << 20      # and while no more than this has been read
    TICK_MAX_NS = 250_000_000
    TICK_MIN_NS = 5_000_000


# --- life -----------------------------------------------------------------------------------------------------------

cdef int loop_init(Loop *loop, Shared *shared, uint32_t index, Terms *terms, uint64_t seed) noexcept nogil:
    """0 or -errno; after an error nothing is left open."""
    cdef int result
    cdef uint64_t shortest_ns = min(terms.write_timeout_ns, terms.close_deadline_ns, terms.message_timeout_ns)
    memset(loop, 0, sizeof(Loop))
    loop.shared, loop.index = shared, index
    loop.pool, loop.outbox = &shared.pool, &shared.outbox
    loop.write_timeout_ns, loop.close_deadline_ns = terms.write_timeout_ns, terms.close_deadline_ns
    loop.notsent_bytes = terms.notsent_bytes
    loop.lane_bytes, loop.message_timeout_ns = terms.lane_bytes, terms.message_timeout_ns
    loop.max_fragments, loop.max_controls = terms.max_fragments, terms.max_controls
    loop.max_ignored_bytes = terms.max_ignored_bytes
    loop.random = seed | 1
    loop.tick_ns = max(<uint64_t>TICK_MIN_NS, min(<uint64_t>TICK_MAX_NS, shortest_ns // 8))
    result = poller_open(&loop.poll)
    if result < 0:
        return result
    loop.buffer = <uint8_t *>malloc(TAIL_MAX + CHUNK_BYTES)
    if loop.buffer == NULL:
        poller_close(&loop.poll)
        return -ENOMEM
    inbox_init(&loop.inbox, &loop.poll)
    table_init(&loop.table, index)
    return 0


cdef void loop_clear(Loop *loop) noexcept nogil:
    """Gives back the memory."""
    if loop.inbox.waker != NULL:
        loop_shut(loop)
    inbox_clear(&loop.inbox)
    table_clear(&loop.table)
    free(loop.buffer)


cdef void loop_shut(Loop *loop) noexcept nogil:
    """Resets every connection and closes the loop's own descriptors. Nothing turns it afterwards."""
    cdef uint32_t slot
    cdef Sink *sink
    cdef Command *command = NULL
    cdef Command *done
    cdef DirtyLink *dirty = NULL
    inbox_shut(&loop.inbox)
    inbox_take(&loop.inbox, &command, &dirty, &dirty)
    while command != NULL:
        orders_refuse(loop, command)
        done, command = command, command.next
        free(done)
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if not sink.started and sink.state == ATTACHED:
            connection_abandon(loop, sink)
        elif sink.started and sink.state != GONE:
            connection_end(loop, sink, CAUSE_ABORTED, True)
    connections_bury(loop)
    poller_close(&loop.poll)


cdef void loop_orphan(Loop *loop) noexcept nogil:
    """In a forked child, where the thread is not and locks stand as they stood: closes the child's copies."""
    cdef uint32_t slot
    cdef int fd
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        fd = table_at(&loop.table, slot).fd
        if fd >= 0:
            wire_abandon(fd)
    inbox_orphan(&loop.inbox)
    poller_close(&loop.poll)


cdef void loops_nudge(Shared *shared, uint64_t which) noexcept nogil:
    """Bit i: loop i is to look again at what it waits for. Any thread."""
    cdef uint32_t index
    for index in range(shared.count):
        if which >> index & 1:
            inbox_nudge(&shared.loops[index].inbox)


cdef bint loops_come_to_rest(Shared *shared, int threads, uint64_t ends_ns) noexcept nogil:
    """Whether every loop waits, after two more rounds of each, with nothing there that would wake it. One round more is
    not enough: its events may have been taken before what the caller has in mind happened. Any thread but theirs."""
    cdef uint32_t index
    cdef int _again
    cdef uint64_t turns
    cdef Loop *loop
    for index in range(shared.count):
        loop = &shared.loops[index]
        for _again in range(2 if threads else 0):
            turns = load_acquire(&loop.counters.turns)
            inbox_nudge(&loop.inbox)
            while load_acquire(&loop.counters.turns) == turns:
                if clock_ns() >= ends_ns:
                    return False
                usleep(10)
    turns = turns_of_all(shared)
    for index in range(shared.count):
        if not inbox_at_rest(&shared.loops[index].inbox):
            return False
    # One that waited may have been given work since by one that did not: that one has finished a round.
    return turns_of_all(shared) == turns


cdef uint64_t turns_of_all(Shared *shared) noexcept nogil:
    cdef uint64_t turns = 0
    cdef uint32_t index
    for index in range(shared.count):
        turns += load_acquire(&shared.loops[index].counters.turns)
    return turns


# --- rounds ---------------------------------------------------------------------------------------------------------

cdef void loop_run(Loop *loop) noexcept nogil:
    """The I/O thread's life, until loop_stop()."""
    cdef bint idle = False
    while not load_acquire(&loop.stop):
        idle = run_round(loop, -1 if idle else 0)


cdef void loop_stop(Loop *loop) noexcept nogil:
    """Any thread. The round under way is finished."""
    store_release(&loop.stop, 1)
    inbox_nudge(&loop.inbox)


cdef void loop_turn(Loop *loop, uint64_t budget_ns) noexcept nogil:
    """Does what there is to do, for about `budget_ns`; with work left over, the poller's descriptor stays readable."""
    cdef uint64_t started_ns = clock_ns()
    inbox_awake(&loop.inbox)
    while not run_round(loop, 0):
        if loop.now_ns - started_ns >= budget_ns:
            inbox_sleep(&loop.inbox)
            poller_wake(&loop.poll)
            return


cdef bint run_round(Loop *loop, int timeout_ms) noexcept nogil:
    """Waits for as long as `timeout_ms` (-1: for ever), then does one of everything. True: nothing is left to do, and
    who has something for this loop will wake it."""
    cdef int count = poll_all(loop, timeout_ms)
    run_commands(loop)
    if loop.dirty != NULL or loop.unfinished != NULL:
        fanout_slice(loop)
    clocks_judge(loop, count < POLLED_AT_ONCE)
    limits_apply(loop)
    connections_bury(loop)
    count_up(&loop.counters.turns, 1)
    if loop.dirty != NULL or loop.unfinished != NULL or loop.reading.first != NULL or count == POLLED_AT_ONCE:
        return False
    return inbox_sleep(&loop.inbox)


cdef int poll_all(Loop *loop, int timeout_ms) noexcept nogil:
    """Polls until everything that is ready has been told of, for as long as a slice takes at most: the poller tells of
    those first that were ready first, so who became ready last waits for all of them."""
    cdef uint64_t received_bytes = loop.counters.received_bytes
    cdef int count = poll_once(loop, timeout_ms)
    cdef uint64_t polled_until_ns = loop.now_ns + POLLING_NS
    while count == POLLED_AT_ONCE and loop.now_ns < polled_until_ns and (
            loop.counters.received_bytes - received_bytes < POLLED_BYTES):
        count = poll_once(loop, 0)
    connections_read_on(loop)
    return count


cdef int poll_once(Loop *loop, int timeout_ms) noexcept nogil:
    cdef poller_event events[POLLED_AT_ONCE]
    cdef int count = poller_wait(&loop.poll, events, POLLED_AT_ONCE, timeout_ms)
    cdef int index
    if timeout_ms:
        inbox_awake(&loop.inbox)
    loop.now_ns = clock_ns()
    rates_note_pause(loop)
    for index in range(count):
        if events[index].token == POLLER_TICK:
            clocks_on_tick(loop)
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
        if not sink.in_view:
            connection_flush(loop, sink)
            return
        # Its turn comes with its view's: thousands that can be written to again must not hold up who just came.
        fanout_serve_again(loop, sink)
    if sink.readable:
        connection_receive(loop, sink)


cdef void run_commands(Loop *loop) noexcept nogil:
    cdef Command *command = NULL
    cdef Command *done
    cdef DirtyLink *dirty = NULL
    cdef DirtyLink *dirty_last = NULL
    inbox_take(&loop.inbox, &command, &dirty, &dirty_last)
    dirty_add(loop, dirty, dirty_last)
    while command != NULL:
        orders_execute(loop, command)
        done = command
        command = command.next
        free(done)

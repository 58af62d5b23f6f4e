"""Clocks of connections: stalled, closing, pinged.

Deadlines do not compare times, they add up what passed, and a step counts at most twice its usual length. So time in
which this process, or its host's Python, stood still is held against nobody; and a peer's time to answer a ping runs
only while nothing of ours is in its way. Called by the I/O thread.
"""

from fastfan._connection cimport connection_condemn, connection_end, connection_flush, connection_receive
from fastfan._cursor cimport (
    CAUSE_CLOSE_TIMEOUT, CAUSE_CLOSED, CAUSE_NO_PONG, CAUSE_RESET, CAUSE_STALLED, GONE, OPEN, PEER_CLOSED,
    PING_NONE, PING_QUEUED, PING_TAKEN, ROLE_PUBLISHER, Sink,
)
from fastfan._lane cimport lane_tick
from fastfan._limits cimport limits_review_all
from fastfan._log cimport FRAME_PING, frame_write_header
from fastfan._pool cimport pool_ease, pool_spare_bytes
from fastfan._sink cimport sink_owes, sink_queue_control
from fastfan._sync cimport count_up, load_acquire
from fastfan._system cimport poller_tick
from fastfan._table cimport table_at


cdef enum:
    EASE_EVERY_TICKS = 16       # a few seconds: a burst that comes again finds its segments


cdef void clocks_start(Loop *loop) noexcept nogil:
    if not loop.ticking:
        poller_tick(&loop.poll, loop.tick_ns, loop.tick_ns)
        loop.ticking, loop.last_tick_ns = True, loop.now_ns


cdef void clocks_call_at(Loop *loop, uint64_t at_ns) noexcept nogil:
    """The loop is to be woken by then, if nothing else does it: by a tick that comes early."""
    cdef uint64_t next_tick_ns = loop.last_tick_ns + loop.tick_ns
    if not loop.ticking or at_ns >= next_tick_ns or (loop.call_at_ns and loop.call_at_ns <= at_ns):
        return
    loop.call_at_ns = at_ns
    # The soonest there is, not 0, which would be none.
    poller_tick(&loop.poll, max(at_ns, loop.now_ns + 1) - loop.now_ns, loop.tick_ns)


cdef void clocks_on_tick(Loop *loop) noexcept nogil:
    """The poller tells of a tick: a regular one, or one that was called early."""
    loop.call_at_ns = 0
    if loop.now_ns - loop.last_tick_ns >= loop.tick_ns - loop.tick_ns // 8:
        loop.tick_due_ns = loop.now_ns
    else:
        poller_tick(&loop.poll, loop.last_tick_ns + loop.tick_ns - loop.now_ns, loop.tick_ns)


cdef void tick(Loop *loop) noexcept nogil:
    """Advances the clocks of the stalled and the closing."""
    cdef uint64_t step_ns = min(loop.now_ns - loop.last_tick_ns, 2 * loop.tick_ns)
    cdef uint32_t slot
    cdef bint exchanged
    cdef Sink *sink
    loop.last_tick_ns = loop.now_ns
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if not sink.started or sink.state == GONE:
            continue
        if sink.state != OPEN:
            if sink.close_left_ns <= step_ns:
                exchanged = sink.state == PEER_CLOSED and sink.close_sent
                connection_end(loop, sink, CAUSE_CLOSED if exchanged else CAUSE_CLOSE_TIMEOUT, True)
                continue
            sink.close_left_ns -= step_ns
        elif sink.blocked and sink_owes(sink):
            sink.stalled_ns += step_ns
            if sink.stalled_ns >= loop.write_timeout_ns:
                connection_condemn(loop, sink, CAUSE_STALLED)
        else:
            sink.stalled_ns = 0
        if sink.write_dead and not sink.role & ROLE_PUBLISHER:
            # Nothing more can reach it, and nothing it sends is wanted.
            connection_end(loop, sink, CAUSE_RESET, False)
        elif sink.readable:
            connection_receive(loop, sink)
        if sink.incoming.opcode and sink.state != GONE:
            lane_tick(loop, sink, step_ns)
    loop.ticks += 1
    if loop.ticks % (EASE_EVERY_TICKS * loop.shared.count) == 0:
        pool_ease(loop.pool)
    if load_acquire(&loop.table.used) == 0 and pool_spare_bytes(loop.pool) == 0 and not loop.room_wanted:
        poller_tick(&loop.poll, 0, 0)
        loop.ticking = False


cdef uint64_t random_below(Loop *loop, uint64_t bound) noexcept nogil:
    # xorshift64 (Marsaglia, 2003): spreads pings, nothing secret.
    loop.random ^= loop.random << 13
    loop.random ^= loop.random >> 7
    loop.random ^= loop.random << 17
    return loop.random % bound if bound else 0


cdef void beat(Loop *loop) noexcept nogil:
    """Pings who is due and condemns who did not answer. A peer's time runs only while nothing of ours is in its way."""
    cdef uint64_t step_ns = min(loop.now_ns - loop.last_beat_ns, loop.beat_longest_ns)
    cdef uint32_t slot
    cdef uint8_t ping[2]
    cdef Sink *sink
    loop.last_beat_ns = loop.now_ns
    frame_write_header(ping, FRAME_PING, 0)
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if not sink.started or sink.state != OPEN:
            continue
        if sink.ping == PING_TAKEN and not (sink.blocked or sink.lent or sink.waits_in != NULL):
            sink.pong_waited_ns += step_ns
            if sink.pong_waited_ns > loop.pong_deadline_ns:
                connection_condemn(loop, sink, CAUSE_NO_PONG)
                continue
        if sink.until_ping_ns == 0:
            sink.until_ping_ns = 1 + random_below(loop, loop.ping_interval_ns)
        elif sink.until_ping_ns > step_ns:
            sink.until_ping_ns -= step_ns
        elif sink.ping == PING_NONE and sink_queue_control(sink, ping, 2):
            sink.ping, sink.until_ping_ns = PING_QUEUED, loop.ping_interval_ns
            count_up(&loop.counters.pings, 1)
            connection_flush(loop, sink)


cdef inline bint is_due(Loop *loop, uint64_t due_ns, bint polled_all) noexcept nogil:
    return due_ns != 0 and (polled_all or loop.now_ns - due_ns > loop.tick_ns)


cdef void clocks_judge(Loop *loop, bint polled_all) noexcept nogil:
    """Ticks and beats that are due. Only after everything that was ready has been looked at, so that nobody is judged
    whose bytes were there already; but not never, however much there is."""
    if is_due(loop, loop.tick_due_ns, polled_all):
        loop.tick_due_ns = 0
        tick(loop)
        limits_review_all(loop)
    if is_due(loop, loop.beat_due_ns, polled_all):
        loop.beat_due_ns = 0
        beat(loop)

"""Limits carried out: lag reviews, the memory limit, publishers that were held back and may go on.

What a rule finds it only notes (`doomed`), because it looks while something else iterates; limits_apply() acts on it
once a round. What a publisher waits for may happen on another loop, which then nudges this one: who waits says so
first (`awaiting_memory`, `View.awaited`), then looks again, then waits. Called by the loop's thread.
"""

from libc.stdint cimport UINT64_MAX, int64_t

from fastfan._clocks cimport clocks_call_at
from fastfan._connection cimport connection_condemn, connection_receive, must_wait
from fastfan._cursor cimport CAUSE_MEMORY, CAUSE_TOO_FAR_BEHIND, OPEN, Sink
from fastfan._lag cimport lag_farthest, lag_needs_no_review, lag_review, lag_review_due, lag_span
from fastfan._loop cimport loops_nudge
from fastfan._mailbox cimport EVENT_ROOM, inbox_nudge, outbox_put
from fastfan._pool cimport pool_short
from fastfan._readers_lag cimport readers_evict, readers_paced, readers_review_all, readers_span
from fastfan._sync cimport add_fetch, clear_bits_full, exchange_full, load_acquire, store_release
from fastfan._rest cimport rest_is_alone
from fastfan._table cimport table_at
from fastfan._waitlist cimport waitlist_add, waitlist_take

cdef enum:
    EVERY_LOOP = 0xFFFF


cdef void limits_note_lag(Loop *loop, View *view) noexcept nogil:
    if lag_review_due(view, loop.now_ns):
        review(loop, view)
    else:
        limits_note_span(loop, view)


cdef void limits_note_span(Loop *loop, View *view) noexcept nogil:
    """The view may hold less of the log than before."""
    if load_acquire(&view.awaited) and lag_needs_no_review(view):
        limits_tell_waiting(loop, view)


cdef void limits_tell_waiting(Loop *loop, View *view) noexcept nogil:
    """Loops whose publishers wait for this view look again."""
    cdef uint64_t waiting = exchange_full(&view.awaited, 0)
    if waiting:
        loops_nudge(loop.shared, waiting)


cdef void review(Loop *loop, View *view) noexcept nogil:
    view.ages_from_ns = loop.resumed_ns
    if lag_review(view, loop.now_ns, &loop.doomed):
        limits_unpace(loop)
    limits_tell_waiting(loop, view)


cdef void limits_unpace(Loop *loop) noexcept nogil:
    """Publishers of some topic may go on, on whichever loop: this one, too, may have looked at its own already."""
    loops_nudge(loop.shared, EVERY_LOOP)
    announce_room(loop)


cdef void review_for_waiting(Loop *loop) noexcept nogil:
    """Publishers wait for a review of some views: each as soon as its ration has room for it."""
    cdef View *view = loop.live
    cdef uint64_t next_ns = UINT64_MAX
    exchange_full(&loop.inbox.review_asked, 0)
    while view != NULL:
        if load_acquire(&view.awaited):
            if lag_needs_no_review(view):
                limits_tell_waiting(loop, view)
            elif loop.now_ns >= view.review_asked_ns:
                review(loop, view)
            else:
                next_ns = min(next_ns, view.review_asked_ns)
        view = view.live_next
    loop.review_at_ns = 0 if next_ns == UINT64_MAX else next_ns
    if loop.review_at_ns:
        clocks_call_at(loop, loop.review_at_ns)


cdef void limits_review_all(Loop *loop) noexcept nogil:
    """Applies the lag rules to every view: also where its cursors all stand still and nothing else would."""
    cdef View *view = loop.live
    while view != NULL:
        review(loop, view)
        view = view.live_next
    if readers_review_all(&loop.shared.readers, loop.now_ns, loop.resumed_ns):
        limits_unpace(loop)
    if pool_short(loop.pool):
        find_victim(loop)
    end_shortage(loop)
    announce_room(loop)


cdef void end_shortage(Loop *loop) noexcept nogil:
    """Held publishers keep memory below the limit, so what fills it might never go. When they have waited as long as a
    stalled subscriber may, the farthest cursor of the largest log goes, one a tick."""
    if not pool_short(loop.pool) or (loop.held.first == NULL and not loop.room_wanted):
        loop.short_ns = 0
        return
    loop.short_ns += loop.tick_ns
    if loop.short_ns <= loop.write_timeout_ns or condemn_rest(loop, loop.pool.limit_bytes // 5 * 4):
        return
    if not rests_suffice(loop, loop.pool.limit_bytes // 5 * 4):
        evict(loop)


cdef void limits_apply(Loop *loop) noexcept nogil:
    """Carries out what the reviews found, and the memory limit."""
    if load_acquire(&loop.inbox.review_asked) or (loop.review_at_ns and loop.now_ns >= loop.review_at_ns):
        review_for_waiting(loop)
    condemn_doomed(loop)
    if load_acquire(&loop.evict_asked) and exchange_full(&loop.evict_asked, 0):
        evict_here(loop)
    if load_acquire(&loop.looks_asked) != loop.looks_answered:
        find_victim(loop)
    while is_over_limit(loop) and evict_over_limit(loop):
        continue
    if load_acquire(&loop.shared.awaiting_memory) and not pool_short(loop.pool):
        if exchange_full(&loop.shared.awaiting_memory, 0):
            loops_nudge(loop.shared, EVERY_LOOP & ~(<uint64_t>1 << loop.index))
    if loop.held.first != NULL:
        release_held(loop)
    if loop.room_wanted_short and not pool_short(loop.pool):
        announce_room(loop)


cdef void condemn_doomed(Loop *loop) noexcept nogil:
    cdef Sink *sink
    while loop.doomed != NULL:
        sink = loop.doomed
        loop.doomed = sink.doomed_next
        sink.doomed = False
        connection_condemn(loop, sink, CAUSE_TOO_FAR_BEHIND)


# --- the memory limit -----------------------------------------------------------------------------------------------

cdef bint evict(Loop *loop) noexcept nogil:
    """Condemns the farthest open cursor of the largest log that has one, or has its loop do it. False when this loop
    can do no more."""
    cdef Loop *worst = loop
    cdef Loop *other
    cdef uint32_t index
    find_victim(loop)
    for index in range(loop.shared.count):
        other = &loop.shared.loops[index]
        if load_acquire(&other.worst_lag_bytes) > load_acquire(&worst.worst_lag_bytes):
            worst = other
    if readers_span(&loop.shared.readers) > load_acquire(&worst.worst_lag_bytes):
        return readers_evict(&loop.shared.readers)
    if worst == loop:
        return evict_here(loop)
    store_release(&worst.evict_asked, 1)
    inbox_nudge(&worst.inbox)
    return False


cdef inline bint is_over_limit(Loop *loop) noexcept nogil:
    if load_acquire(&loop.pool.used_bytes) > loop.pool.limit_bytes:
        return True
    loop.over_limit = False
    return False


cdef bint evict_over_limit(Loop *loop) noexcept nogil:
    """The same over the limit, where every loop is at it: nobody goes before all have looked how far behind theirs are,
    and the loop with the worst does it, if it is still necessary when it gets there."""
    cdef Loop *other
    cdef Loop *worst = loop
    cdef uint32_t index
    if condemn_rest(loop, loop.pool.limit_bytes):
        return True
    find_victim(loop)
    if not loop.over_limit:
        loop.over_limit = True
        ask_others_to_look(loop)
    if rests_suffice(loop, loop.pool.limit_bytes):
        return False    # they are closing, or on other loops, which come here as well
    for index in range(loop.shared.count):
        other = &loop.shared.loops[index]
        if other == loop:
            continue
        if load_acquire(&other.looks_answered) != load_acquire(&other.looks_asked):
            return False    # it is awake for that, and comes here as well
        if is_worse(other, worst):
            worst = other
    if worst == loop:
        # Another may have been worse until just now; what that gave back is seen by who sees that it no longer is.
        if not is_over_limit(loop):
            return False
        if readers_span(&loop.shared.readers) > load_acquire(&loop.worst_lag_bytes):
            return readers_evict(&loop.shared.readers)
        return evict_here(loop)
    inbox_nudge(&worst.inbox)
    return False


cdef inline bint rests_suffice(Loop *loop, uint64_t wanted_bytes) noexcept nogil:
    """Whether memory is full of frames that nobody is owed but those whose sockets have the beginning of them: then it
    helps nothing to condemn who is behind."""
    cdef uint64_t used_bytes = load_acquire(&loop.pool.used_bytes)
    return used_bytes > wanted_bytes and load_acquire(&loop.pool.pinned_bytes) >= used_bytes - wanted_bytes


cdef bint condemn_rest(Loop *loop, uint64_t wanted_bytes) noexcept nogil:
    """Condemns the one here that holds the largest such frame, where these are what fills the memory. It may finish the
    frame until close_deadline, as all do; so what those hold that had to go before is waited for."""
    cdef uint32_t slot
    cdef uint64_t size
    cdef Sink *sink
    cdef Sink *victim = NULL
    if not rests_suffice(loop, wanted_bytes):
        return False
    for slot in range(<uint32_t>load_acquire(&loop.table.high_slot)):
        sink = table_at(&loop.table, slot)
        if not sink.started or sink.state != OPEN or not rest_is_alone(sink):
            continue
        if victim == NULL or sink.rest.block_bytes > victim.rest.block_bytes:
            victim = sink
    if victim == NULL:
        return False
    size = victim.rest.block_bytes
    # Added first, so that of two loops at this point the second one sees what the first one does.
    if add_fetch(&loop.pool.leaving_bytes, <int64_t>size) - size >= load_acquire(&loop.pool.used_bytes) - wanted_bytes:
        add_fetch(&loop.pool.leaving_bytes, -<int64_t>size)
        return False
    victim.rest_leaves = True
    connection_condemn(loop, victim, CAUSE_MEMORY)
    return True


cdef inline bint is_worse(Loop *one, Loop *other) noexcept nogil:
    # Of two alike it is the first, for all who compare them.
    cdef uint64_t lag = load_acquire(&one.worst_lag_bytes)
    cdef uint64_t other_lag = load_acquire(&other.worst_lag_bytes)
    return lag > other_lag or (lag == other_lag and lag > 0 and one.index < other.index)


cdef void ask_others_to_look(Loop *loop) noexcept nogil:
    cdef uint32_t index
    for index in range(loop.shared.count):
        if index != loop.index:
            add_fetch(&loop.shared.loops[index].looks_asked, 1)
            inbox_nudge(&loop.shared.loops[index].inbox)


cdef bint evict_here(Loop *loop) noexcept nogil:
    cdef Sink *victim = find_victim(loop)
    if victim != NULL:
        connection_condemn(loop, victim, CAUSE_MEMORY)
        find_victim(loop)
    return victim != NULL


cdef Sink *find_victim(Loop *loop) noexcept nogil:
    """The farthest open cursor of the largest log that has one here, NULL when none lags; the others are told how far
    that is."""
    cdef View *view = loop.live
    cdef Sink *victim = NULL
    cdef Sink *farthest
    cdef uint64_t most = 0
    cdef uint64_t asked = load_acquire(&loop.looks_asked)
    while view != NULL:
        if lag_span(view) > most:
            farthest = lag_farthest(view)
            if farthest != NULL:
                victim, most = farthest, lag_span(view)
        view = view.live_next
    store_release(&loop.worst_lag_bytes, most)
    store_release(&loop.looks_answered, asked)
    return victim


# --- those who wait -------------------------------------------------------------------------------------------------

cdef void release_held(Loop *loop) noexcept nogil:
    """Reads the publishers that waited, as far as they need not wait any more."""
    cdef uint32_t left = loop.held.count
    cdef Sink *sink
    while left and loop.held.first != NULL:
        sink = waitlist_take(&loop.held)
        if must_wait(loop, sink):
            waitlist_add(&loop.held, sink)
        else:
            connection_receive(loop, sink)
        left -= 1


cdef void limits_answer_room(Loop *loop) noexcept nogil:
    """Somebody asks for room: at once where nothing is in the way, here or on another loop. A loop that has something
    in the way answers for all when that is gone, or at its next tick."""
    cdef uint64_t own = <uint64_t>1 << loop.index
    cdef View *view = loop.live
    while view != NULL:
        if load_acquire(&view.topic.paced):
            return
        view = view.live_next
    if readers_paced(&loop.shared.readers):
        return
    if loop.room_wanted and not pool_short(loop.pool):
        loop.room_wanted = loop.room_wanted_short = False
        if clear_bits_full(&loop.shared.room_wanted, own) == own:
            outbox_put(loop.outbox, EVENT_ROOM, 0, 0, 0, NULL, 0)


cdef void announce_room(Loop *loop) noexcept nogil:
    # Those who wait look for themselves whether the room is theirs, and ask again if not.
    if loop.room_wanted and not pool_short(loop.pool):
        loop.room_wanted = loop.room_wanted_short = False
        # One loop is the first to see it, and tells for all.
        if exchange_full(&loop.shared.room_wanted, 0):
            outbox_put(loop.outbox, EVENT_ROOM, 0, 0, 0, NULL, 0)

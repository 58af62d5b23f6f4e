"""The loop that serves a set of connections: poll, read, flush, tick (rules in _loop.pyx)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._cursor cimport ReaderHub, Sink, Skips, View, WaitList
from fastfan._mailbox cimport DirtyLink, Inbox, Outbox
from fastfan._pool cimport Pool
from fastfan._system cimport poller
from fastfan._table cimport Table


cdef enum:
    CHUNK_BYTES = 65536         # most that is read of one connection at a time
    TAIL_MAX = 131              # of what came before, and is dealt with when it is whole: a control frame

cdef struct Counters:
    # Written by the loop's thread alone; others may read a word at any time.
    uint64_t received_bytes
    uint64_t sent_bytes
    uint64_t pings
    uint64_t held_publishers    # times a publisher had to wait for its topic or for memory
    uint64_t messages           # that took the lane; and their payloads
    uint64_t message_bytes
    uint64_t ignored_messages   # of subscribers, that took it as well
    uint64_t turns
    Skips skips

cdef struct Loop

cdef struct Shared:
    # What the loops of an engine have in common.
    Pool pool
    Outbox outbox
    ReaderHub readers
    Loop *loops
    uint32_t count              # of those that are set up
    uint64_t closed             # 1 from shut() on; release/acquire
    uint64_t orphaned           # 1 in a forked child: all of this is its parent's; release/acquire
    uint64_t room_wanted        # exchanged: bit i: the shell waits for an EVENT_ROOM, and loop i has not answered
    uint64_t awaiting_memory    # exchanged: 1 while somebody waits for memory to be no longer short

cdef struct Loop:
    # Others reach these, each with its own lock.
    Table table
    Inbox inbox
    uint64_t stop               # release/acquire: the I/O thread is to end
    uint64_t worst_lag_bytes    # release/acquire: the largest span of its views, at its last look
    uint64_t looks_asked        # a count: others want it to look again
    uint64_t looks_answered     # release/acquire: the count at the beginning of that look
    uint64_t evict_asked        # exchanged: another loop found that the victim is here
    # Set once.
    Shared *shared
    Pool *pool
    Outbox *outbox
    uint32_t index
    poller poll
    uint64_t write_timeout_ns
    uint64_t close_deadline_ns
    uint64_t tick_ns
    int notsent_bytes
    size_t lane_bytes           # the largest message that may take the lane; 0: none does
    uint64_t message_timeout_ns
    uint32_t max_fragments      # of a message; this and the next two: 0 for no limit
    uint32_t max_controls       # pings and pongs of a connection in a second
    uint64_t max_ignored_bytes  # of a subscriber's messages in a second
    # The loop's own.
    uint64_t now_ns
    uint64_t last_tick_ns
    uint64_t resumed_ns         # when it last went on after a pause of this process; 0: never
    uint64_t last_beat_ns
    uint64_t ticks
    uint64_t random
    bint ticking
    bint over_limit             # at the last look
    uint64_t short_ns           # how long publishers have been waiting for memory
    uint64_t call_at_ns         # when a tick was asked to come early for; 0: none was
    uint64_t review_at_ns       # when a review that somebody waits for may be; 0: nobody waits for one
    uint64_t tick_due_ns        # when a tick that still waits was due; 0: none
    uint64_t beat_due_ns        # the same of a beat, whose terms follow
    uint64_t ping_interval_ns
    uint64_t pong_deadline_ns
    uint64_t beat_longest_ns
    bint room_wanted
    bint room_wanted_short      # asked for while memory was short
    DirtyLink *dirty            # views to serve, in turn
    DirtyLink *dirty_last
    View *unfinished            # the one whose pass the last slice cut; marked as queued, on the list again by the next
    View *live                  # views with cursors
    WaitList held               # readable publishers that have to wait
    WaitList reading            # connections with more to read
    Sink *doomed
    Sink *graves
    uint8_t *buffer
    Counters counters

cdef struct Terms:
    # What an engine was told at its making; see Engine.
    uint64_t write_timeout_ns
    uint64_t close_deadline_ns
    int notsent_bytes
    size_t lane_bytes
    uint64_t message_timeout_ns
    uint32_t max_fragments
    uint32_t max_controls
    uint64_t max_ignored_bytes

cdef int loop_init(Loop *loop, Shared *shared, uint32_t index, Terms *terms, uint64_t seed) noexcept nogil
cdef void loop_clear(Loop *loop) noexcept nogil
cdef void loop_turn(Loop *loop, uint64_t budget_ns) noexcept nogil
cdef void loop_run(Loop *loop) noexcept nogil
cdef void loop_stop(Loop *loop) noexcept nogil
cdef void loop_shut(Loop *loop) noexcept nogil
cdef void loop_orphan(Loop *loop) noexcept nogil
cdef void loops_nudge(Shared *shared, uint64_t which) noexcept nogil
cdef bint loops_come_to_rest(Shared *shared, int threads, uint64_t ends_ns) noexcept nogil

"""The loop that serves a set of connections: poll, read, flush, tick (rules in _loop.pyx)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._cursor cimport Sink, TopicState
from fastfan._pool cimport Pool
from fastfan._mailbox cimport Inbox, Outbox, poller
from fastfan._table cimport Table


cdef enum:
    CHUNK_BYTES = 65536         # most that is read of one connection at a time
    LANE_BYTES = 131072         # the largest payload for the lane; a cut frame waits in memory until it is whole
    LANE_FRAME_BYTES = 131086   # with its header

cdef struct Counters:
    # Written by the loop's thread alone; others may read a word at any time.
    uint64_t received_bytes
    uint64_t sent_bytes
    uint64_t pings
    uint64_t held_publishers    # times a publisher had to wait for its topic or for memory
    uint64_t messages           # that took the lane; and their payloads
    uint64_t message_bytes
    uint64_t turns

cdef struct Loop:
    # Shared, each with its own lock.
    Pool *pool
    Table table
    Inbox inbox
    Outbox outbox
    # Set once.
    poller poll
    uint64_t write_timeout_ns
    uint64_t close_deadline_ns
    uint64_t tick_ns
    int notsent_bytes
    size_t lane_bytes           # the largest payload that takes the lane; 0: none does
    # The loop's own.
    uint64_t now_ns
    uint64_t last_tick_ns
    uint64_t last_beat_ns
    uint64_t ticks
    uint64_t random
    bint ticking
    uint64_t short_ns           # how long publishers have been waiting for memory
    uint64_t tick_due_ns        # when a tick that still waits was due; 0: none
    uint64_t beat_due_ns        # the same of a beat, whose terms follow
    uint64_t ping_interval_ns
    uint64_t pong_deadline_ns
    uint64_t beat_longest_ns
    bint room_wanted
    bint room_wanted_short      # asked for while memory was short
    TopicState *dirty           # topics with cursors to serve, in turn
    TopicState *dirty_last
    TopicState *live            # topics with cursors
    Sink *held                  # readable publishers that have to wait
    Sink *reading               # connections with more to read, in the order in which they wait
    Sink *reading_last
    Sink *doomed
    Sink *graves
    uint8_t *buffer
    Counters counters

cdef int loop_init(Loop *loop, Pool *pool, uint64_t write_timeout_ns, uint64_t close_deadline_ns,
                   int notsent_bytes, size_t lane_bytes, uint64_t seed) noexcept nogil
cdef void loop_clear(Loop *loop) noexcept nogil
cdef void loop_turn(Loop *loop, uint64_t budget_ns) noexcept nogil
cdef void loop_shut(Loop *loop) noexcept nogil

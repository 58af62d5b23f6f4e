"""Cursors: every subscriber's place in its topic's log, and the view that counts them (rules in _cursor.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._log cimport Log
from fastfan._pool cimport Segment


cdef enum State:
    # Moves: _sink.pyx keeps the table.
    FREE            # a slot without a connection
    ATTACHED        # has its cursor; its descriptor comes with start()
    OPEN
    CONDEMNED       # the engine wants it closed and has let go of the log; the shell's Close is awaited
    CLOSING         # our Close is queued or sent; the peer's is awaited
    PEER_CLOSED     # our Close is the last thing it gets; what still comes from it is thrown away
    GONE            # descriptor closed; freed when nothing iterates

cdef enum Cause:
    # Why a connection ended, or must end.
    CAUSE_NONE
    CAUSE_CLOSED            # both Closes were exchanged, or we closed and it went
    CAUSE_LEFT              # end of stream without a Close
    CAUSE_RESET             # the kernel reported an error
    CAUSE_STALLED           # took no byte for write_timeout while data was owed
    CAUSE_TOO_FAR_BEHIND    # lag over its topic's bound
    CAUSE_MEMORY            # the farthest behind when the memory limit was reached
    CAUSE_NO_PONG
    CAUSE_CLOSE_TIMEOUT     # no answer to our Close within close_deadline
    CAUSE_ABORTED           # abort(), or the engine was closed

cdef enum PingState:
    PING_NONE
    PING_QUEUED             # waits for a frame boundary, or for room in the socket
    PING_TAKEN              # the kernel has its last byte: the peer's time runs

cdef enum:
    ROLE_PUBLISHER = 1
    ROLE_SUBSCRIBER = 2


cdef struct TopicState

cdef struct Sink:
    # Who it is.
    uint64_t token              # generation << 32 | slot
    TopicState *topic
    int fd
    uint8_t role
    State state
    Cause cause                 # set when CONDEMNED, or when its end was decided
    # Its cursor; meaningful while it is a subscriber that is joining, in a view, or pinning.
    Segment *segment            # NULL: the first one of `sequence` or later
    uint64_t sequence
    uint64_t at                 # bytes into the segment
    uint64_t position           # the same in the topic's stream
    bint joining                # placed by attach(), not yet counted by a view
    bint in_view
    bint pinning                # left its view inside a frame; holds that segment alone
    uint32_t view_index
    Sink *joining_next
    Sink *joining_before
    # What goes out besides the log, at the frame boundary `boundary`.
    uint8_t *control
    uint32_t control_bytes
    uint32_t control_sent
    uint32_t control_room
    uint64_t boundary
    uint8_t *close              # our Close, at the frame boundary `close_boundary`; nothing follows it
    uint32_t close_bytes
    uint32_t close_taken
    uint64_t close_boundary
    bint close_sent
    bint write_dead             # the kernel refuses more; reading goes on
    # What the socket said, and who has its bytes.
    bint readable
    bint hangup
    bint blocked
    bint lent
    uint32_t lent_bytes         # charged to the pool until resume()
    bint held                   # readable, but its topic is paced or memory is short
    # Where the lane stands in what the peer sends (see _lane.pyx).
    uint8_t *tail
    uint32_t tail_bytes
    uint32_t tail_frame         # of the whole frame, where its header is here
    uint32_t tail_room          # what the tail has room for, and is charged
    uint32_t tail_ticks
    uint64_t lane_left          # bytes of a frame that Python has the beginning of
    bint lane_open              # Python has the beginning of a fragmented message
    bint lane_off               # everything is Python's
    bint reading_on             # on the loop's list of those that have more to read
    Sink *reading_next
    bint lagging                # at the last review: over pace_lag_bytes; and moving
    bint moving
    Sink *held_next
    bint doomed                 # found guilty by a lag rule in this turn
    Sink *doomed_next
    Sink *grave_next
    uint64_t took_ns            # when the kernel last took a byte
    # Clocks: nanoseconds that passed while they ran (see _clocks.pyx).
    uint64_t stalled_ns
    uint64_t until_ping_ns
    uint64_t pong_waited_ns
    uint64_t close_left_ns
    PingState ping

cdef struct View:
    # The cursors of one topic that one I/O thread serves; only that thread touches it.
    Sink **sinks
    uint32_t count
    uint32_t room
    uint32_t next               # where the fan-out pass goes on
    bint in_pass
    uint64_t pass_end           # the log's end when that pass began
    # Which segments it needs.
    Segment *oldest             # NULL: none
    uint64_t floor              # cursors below this sequence had read everything when the log was emptied
    Segment *floor_segment      # the segment of that sequence, once it exists
    uint32_t floating           # cursors waiting for it
    # Who has everything.
    uint64_t top                # the farthest position of any cursor
    uint32_t at_top
    # Lag (see _lag.pyx).
    uint32_t moving
    uint32_t lagging
    bint paced
    uint64_t review_at_ns
    uint64_t reviewed_end       # the log's end then

cdef struct TopicState:
    Log log
    View view
    # Under log.lock.
    Sink *joining
    uint32_t listeners          # cursors: joining and in the view
    uint32_t clients            # connections of any role
    uint64_t idle_since_ns
    # The lag rules.
    uint64_t max_lag_bytes
    uint64_t max_lag_messages   # 0: off
    uint64_t max_lag_age_ns     # 0: off
    uint64_t pace_lag_bytes
    # The dirty list, and the loop's list of topics with cursors.
    uint64_t queued             # exchanged by appenders: 1 while it is on the list
    TopicState *dirty_next
    TopicState *live_next
    TopicState *live_before
    bint live


# Under log.lock, any thread:
cdef void cursor_join(TopicState *topic, Sink *sink) noexcept nogil
cdef void cursor_abandon(TopicState *topic, Sink *sink) noexcept nogil
# The I/O thread:
cdef bint cursor_admit(TopicState *topic, Sink *sink) noexcept nogil
cdef void cursor_leave(TopicState *topic, Sink *sink, bint keep_frame) noexcept nogil
cdef void cursor_unpin(TopicState *topic, Sink *sink) noexcept nogil
cdef bint cursor_settle(TopicState *topic, Sink *sink) noexcept nogil
cdef void cursor_advance(TopicState *topic, Sink *sink, uint64_t bytes_taken) noexcept nogil
cdef uint64_t cursor_boundary(Sink *sink) noexcept nogil
cdef void view_resolve(TopicState *topic) noexcept nogil
cdef void view_trim(TopicState *topic) noexcept nogil

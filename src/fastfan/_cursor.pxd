"""Cursors: every subscriber's place in its topic's log, and the view that counts them (rules in _cursor.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._log cimport Log, Partial
from fastfan._mailbox cimport DirtyLink, Inbox
from fastfan._place cimport Place
from fastfan._pool cimport Segment
from fastfan._ready cimport ReadyLink, ReadyList
from fastfan._sync cimport mutex_t


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
    # What the lane condemns for; never the cause of a departure.
    CAUSE_BAD_TEXT          # a text message that is not UTF-8
    CAUSE_TOO_BIG           # a message over lane_bytes
    CAUSE_MESSAGE_TIMEOUT   # a message not complete within message_timeout
    CAUSE_NO_ROOM           # no memory left for a message that is arriving
    CAUSE_TOO_MANY_FRAGMENTS    # a message of more than max_fragments frames
    CAUSE_TOO_MANY_CONTROLS     # more than max_controls pings and pongs in a second
    CAUSE_SENT_TOO_MUCH     # a subscriber: more than max_ignored_bytes in a second

cdef enum Policy:
    # What happens to subscribers that are too far behind (see _lag.pyx).
    POLICY_DISCONNECT
    POLICY_SKIP
    POLICY_LATEST
    POLICY_BLOCK

cdef enum PingState:
    PING_NONE
    PING_QUEUED             # waits for a frame boundary, or for room in the socket
    PING_TAKEN              # the kernel has its last byte: the peer's time runs

cdef enum Lane:
    LANE_OPEN
    LANE_LEFT               # everything is Python's
    LANE_ENDED              # condemned: nothing more is wanted from it

cdef enum:
    ROLE_PUBLISHER = 1
    ROLE_SUBSCRIBER = 2


cdef struct TopicState
cdef struct View
cdef struct Sink
cdef struct ReaderState

cdef struct Skips:
    # What slow subscribers did not get.
    uint64_t messages
    uint64_t gaps               # between the messages that they got

cdef struct WaitList:
    Sink *first
    Sink *last
    uint32_t count

cdef struct Incoming:
    # A message that arrives in pieces (see _incoming.pyx).
    Partial partial             # a subscriber's: its size alone
    uint64_t counted_bytes      # of it, in the pool's partial_bytes
    uint64_t frame_left         # payload of the frame that is still to come
    uint64_t waited_ns          # since its first byte
    uint32_t key                # of the frame, as it stands at its next byte
    uint32_t fragments          # of the message, this frame included
    uint8_t opcode              # of the message; 0: there is none
    uint8_t text                # utf8_check()'s state
    uint8_t cut                 # bytes of a character that goes on
    uint32_t unkept             # bytes that came and were not kept, for the message has become too large
    bint in_frame
    bint fin                    # the frame is the last of the message

cdef struct Sink:
    # Who it is. Its loop alone writes these two, also while the slot is free.
    uint64_t token              # generation << 32 | loop << 24 | slot
    bint started                # the loop has it
    # From here on a new connection begins with zeros.
    TopicState *topic
    View *view                  # of its topic and loop
    int fd
    uint8_t loop
    uint8_t role
    State state
    Cause cause                 # set when CONDEMNED, or when its end was decided
    # Its cursor; meaningful while it is a subscriber that is joining or in a view.
    Segment *segment            # NULL: the first one of `sequence` or later
    uint64_t sequence
    uint64_t at                 # bytes into the segment
    uint64_t position           # the same in the topic's stream
    uint64_t jumped_to          # where its last jump ended, and the offset of the message there; 0: none yet
    uint64_t jumped_offset
    bint joining                # placed by attach(), not yet counted by a view
    bint in_view
    uint32_t view_index
    Sink *joining_next
    Sink *joining_before
    # What is left of the frame that it was inside when its cursor jumped or left; goes out ahead of all else.
    Segment *rest               # pinned; NULL: nothing. Meanwhile the cursor stands where a frame begins
    uint64_t rest_at
    uint64_t rest_end
    bint rest_leaves            # counted in the pool's leaving_bytes
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
    bint close_sent             # all of it
    bint write_dead             # the kernel refuses more; reading goes on
    # What the socket said, and who has its bytes.
    bint readable
    bint hangup
    bint blocked
    bint was_blocked            # has room again, and was not served since; only under `latest`
    bint lent
    uint32_t lent_bytes         # charged to the pool until resume()
    WaitList *waits_in          # readable and not read: for its turn, or because it has to wait; NULL: neither
    Sink *wait_next
    Sink *wait_before
    # Where the lane stands in what the peer sends (see _lane.pyx).
    uint8_t *tail
    uint32_t tail_bytes         # charged to the pool
    Lane lane
    Incoming incoming
    # What it sent in its current second (see _rates.pyx).
    uint64_t second_ns          # when that began
    uint64_t ignored_bytes
    uint32_t controls
    bint moving                 # at the last review
    bint lagging                # ... and over pace_lag_bytes
    bint over                   # ... and over its topic's bounds; only under `block`
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
    # The cursors of one topic that one loop serves. Only that loop's thread touches it, but for the words below.
    DirtyLink dirty             # first: the loop's list of views to serve
    TopicState *topic
    Inbox *inbox                # of its loop
    uint32_t loop
    Skips *skips                # of its loop
    Sink **sinks
    uint32_t count
    uint32_t room
    uint32_t next               # where the fan-out pass goes on
    bint in_pass
    bint again                  # somebody before `next` can be sent more
    # Which segments it needs.
    Segment *oldest             # NULL: none, or all cursors float
    uint64_t oldest_sequence    # of `oldest`, which may be gone when the log was emptied
    uint64_t floor              # log.floor, as this view has taken notice of it
    Segment *floor_segment      # the segment of that sequence, once it exists
    uint32_t floating           # cursors waiting for it
    Place newest                # where full sockets jump to, under `latest`; looked for by the first of a pass
    uint64_t newest_end         # the log's end then
    # Who has everything.
    uint64_t top                # the farthest position of any cursor
    uint32_t at_top
    uint64_t review_at_ns       # the next review of its own accord
    uint64_t review_asked_ns    # ... and, before that, if a publisher waits for it
    uint64_t ages_from_ns       # before it no message ages
    # The loop's list of views with cursors.
    bint live
    View *live_next
    View *live_before
    # Words for other threads. Written under log.lock, these also by whoever empties the log:
    uint64_t keep_from          # the lowest sequence it needs; UINT64_MAX: it has no cursors
    uint64_t done               # every cursor has all before this position; UINT64_MAX: there is none
    uint64_t base               # no cursor is behind this position; UINT64_MAX: there is none
    # Written by its thread, release/acquire:
    uint64_t pass_end           # the log's end when the last pass began
    uint64_t moving             # at the last lag review (see _lag.pyx)
    uint64_t lagging
    uint64_t over
    uint64_t reviewed_end       # the log's end then
    uint64_t serving            # 1 while a pass goes on: the topic must not be forgotten
    uint64_t awaited            # bit i: loop i waits for the next pass to begin

cdef struct TopicState:
    Log log
    View *views                 # one for each loop, and behind them one for the readers in this process
    uint32_t loops
    # Under log.lock; the counts are also read without it.
    Sink *joining
    uint64_t viewers            # bit i: loop i has cursors of it; bit `loops`: it has readers
    uint64_t listeners          # cursors: joining and in the views
    uint64_t clients            # connections of any role
    uint64_t idle_since_ns
    # The lag rules.
    Policy policy
    uint64_t max_lag_bytes
    uint64_t max_lag_messages   # 0: off
    uint64_t max_lag_age_ns     # 0: off
    uint64_t pace_lag_bytes
    uint64_t paced              # publishers are held back; release/acquire
    Skips skips                 # any loop adds to them
    # Readers in this process (see _readers.pyx). Under log.lock:
    ReaderState *readers        # that hold their place
    ReaderState *armed          # that have everything, and are to be told when there is more
    uint32_t readers_at_base    # as many stand at the base of the readers' view
    uint64_t offered_offset     # next_offset before the last append
    # Under the hub's lock:
    TopicState *hub_next
    TopicState *hub_before
    uint32_t reader_count       # that are not closed

cdef struct ReaderHub:
    # All topics of an engine that have readers, for who looks at all of them.
    mutex_t lock
    TopicState *topics
    Skips skips                 # any thread adds to them

cdef struct ReaderState:
    # A cursor that is read from Python. All of it is under log.lock; with `busy`, segments from its own on stay.
    ReadyLink link              # first: for the queue
    TopicState *topic
    ReadyList *ready            # where it is told of; NULL: nowhere
    ReaderState *next
    ReaderState *before
    ReaderState *armed_next
    bint listed                 # is a cursor of the topic, and holds the log from its place
    bint armed
    bint busy                   # a batch is being copied out of the log
    bint moving                 # at the last review
    bint lagging                # ... and over pace_lag_bytes
    bint over                   # ... over its topic's bounds; and moving. Only under `block`
    Cause cause                 # why it ended
    Segment *segment
    uint64_t sequence
    uint64_t position
    uint64_t offset             # of the next message
    uint64_t jumped_offset      # of the message where its last jump ended; 0: none yet
    uint64_t ended_lag_bytes
    uint64_t took_ns
    int fd                      # its notifier, readable while it is not armed; -1: none
    int signal_fd


# Under log.lock, any thread:
cdef void cursor_join(TopicState *topic, Sink *sink) noexcept nogil
# The thread of the view's loop:
cdef void cursor_abandon(Sink *sink) noexcept nogil
cdef bint cursor_admit(Sink *sink) noexcept nogil
cdef void cursor_leave(Sink *sink, bint keep_frame) noexcept nogil
cdef bint cursor_settle(Sink *sink) noexcept nogil
cdef void cursor_advance(Sink *sink, uint64_t bytes_taken) noexcept nogil
cdef bint cursor_jump(Sink *sink, Place *to) noexcept nogil
cdef uint64_t cursor_boundary(Sink *sink) noexcept nogil
cdef void view_resolve(View *view) noexcept nogil
cdef void view_trim(View *view) noexcept nogil
# Under log.lock, any thread:
cdef void topic_trim(TopicState *topic) noexcept nogil
# Any thread:
cdef void topic_count_client(TopicState *topic, int step, uint64_t now_ns) noexcept nogil
cdef bint topic_at_rest(TopicState *topic) noexcept nogil

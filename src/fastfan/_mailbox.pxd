"""What passes between the shell and the loops: commands in, events out (rules in _mailbox.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._sync cimport mutex_t
from fastfan._system cimport poller


cdef enum CommandKind:
    COMMAND_START       # data: the head, then the leftover; a: the descriptor, b: the head's size
    COMMAND_SEND        # data: control frames
    COMMAND_CLOSE       # data: our Close or nothing; a: CloseThen, b: behind the log?, c: deadline in ns or 0
    COMMAND_RESUME
    COMMAND_ABORT
    COMMAND_BEAT        # a: ping interval, b: pong deadline, c: longest step to count; all ns
    COMMAND_WANT_ROOM

cdef enum CloseThen:
    THEN_AWAIT          # the peer's Close is awaited; what it still sends is lent
    THEN_DISCARD        # nothing more is wanted from it

cdef enum EventKind:
    EVENT_LENT          # data: what the connection sent; it is not read again before resume()
    EVENT_CONDEMNED     # detail: Cause
    EVENT_DEPARTED      # detail: Cause; extra: whether our Close was sent whole
    EVENT_ROOM          # publishers that were held may go on

cdef struct Command:
    Command *next
    CommandKind kind
    uint64_t token
    uint64_t a
    uint64_t b
    uint64_t c
    uint32_t data_bytes
    uint8_t data[1]

cdef struct Event:
    Event *next
    EventKind kind
    uint64_t token
    int detail
    int extra
    uint32_t data_bytes
    uint8_t data[1]

cdef struct DirtyLink:
    # The first field of what may have something to send (a view), on one loop's list at most.
    DirtyLink *next
    uint64_t queued             # exchanged: 1 while it is on a list

cdef struct Inbox:
    mutex_t lock                # over commands, dirty and nudged
    Command *commands
    Command *commands_last
    DirtyLink *dirty
    DirtyLink *dirty_last
    bint nudged                 # something that the loop waits for may have changed
    uint64_t review_asked       # exchanged: a publisher waits for a review of one of its views
    uint64_t asleep             # exchanged: who finds 1 wakes the loop
    poller *waker

cdef struct Outbox:
    mutex_t lock                # over all of it
    Event *events
    Event *events_last
    bint signaled
    bint has_room               # an EVENT_ROOM waits, and says all that a second one could
    int fd                      # readable while there are events
    int signal_fd

cdef void inbox_init(Inbox *inbox, poller *waker) noexcept nogil
cdef void inbox_shut(Inbox *inbox) noexcept nogil
cdef void inbox_clear(Inbox *inbox) noexcept nogil
cdef void inbox_orphan(Inbox *inbox) noexcept nogil
cdef bint inbox_post(Inbox *inbox, Command *command) noexcept nogil
cdef Command *command_new(CommandKind kind, uint64_t token, const uint8_t *data, uint32_t data_bytes,
                          const uint8_t *more, uint32_t more_bytes) noexcept nogil
cdef void inbox_mark_dirty(Inbox *inbox, DirtyLink *link) noexcept nogil
cdef void inbox_nudge(Inbox *inbox) noexcept nogil
cdef void inbox_take(Inbox *inbox, Command **commands, DirtyLink **dirty, DirtyLink **dirty_last) noexcept nogil
cdef bint inbox_at_rest(Inbox *inbox) noexcept nogil
cdef void inbox_awake(Inbox *inbox) noexcept nogil
cdef bint inbox_sleep(Inbox *inbox) noexcept nogil

cdef int outbox_init(Outbox *outbox) noexcept nogil
cdef void outbox_shut(Outbox *outbox) noexcept nogil
cdef void outbox_clear(Outbox *outbox) noexcept nogil
cdef bint outbox_put(Outbox *outbox, EventKind kind, uint64_t token, int detail, int extra,
                     const uint8_t *data, uint32_t data_bytes) noexcept nogil
cdef Event *outbox_take(Outbox *outbox, uint32_t limit) noexcept nogil

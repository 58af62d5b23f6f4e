"""The seam between Python and the I/O threads, and between those: lists under locks, a flag against lost wake-ups.

Waking: a poster first puts its command on the list, then takes the `asleep` flag; who takes it wakes the loop, once.
The loop first raises the flag, then looks at the list again: one of the two always sees the other. Both lists keep
their order, and neither side ever waits for the other while it holds a lock.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastfan._sync cimport exchange_full, load_acquire, mutex_destroy, mutex_init, mutex_lock, mutex_unlock
from fastfan._system cimport (
    poller, poller_wake, poller_pending, notifier_open, notifier_signal, notifier_clear, notifier_close, wire_abandon,
)


# --- commands: any thread posts, the loop takes ---------------------------------------------------------------------

cdef void inbox_init(Inbox *inbox, poller *waker) noexcept nogil:
    memset(inbox, 0, sizeof(Inbox))
    mutex_init(&inbox.lock)
    inbox.waker = waker
    inbox.asleep = 1


cdef void inbox_clear(Inbox *inbox) noexcept nogil:
    cdef Command *command
    while inbox.commands != NULL:
        command = inbox.commands
        inbox.commands = command.next
        free(command)
    mutex_destroy(&inbox.lock)


cdef void inbox_orphan(Inbox *inbox) noexcept nogil:
    """In a forked child, without the lock: closes its copies of sockets that were on their way in."""
    cdef Command *command = inbox.commands
    while command != NULL:
        if command.kind == COMMAND_START:
            wire_abandon(<int>command.a)
        command = command.next


cdef Command *command_new(CommandKind kind, uint64_t token, const uint8_t *data, uint32_t data_bytes,
                          const uint8_t *more, uint32_t more_bytes) noexcept nogil:
    """A command with a copy of the bytes; the inbox owns it once posted. NULL: no memory."""
    cdef Command *command = <Command *>malloc(sizeof(Command) + data_bytes + more_bytes)
    if command == NULL:
        return NULL
    command.next = NULL
    command.kind, command.token = kind, token
    command.a = command.b = command.c = 0
    command.data_bytes = data_bytes + more_bytes
    if data_bytes:
        memcpy(command.data, data, data_bytes)
    if more_bytes:
        memcpy(command.data + data_bytes, more, more_bytes)
    return command


cdef bint inbox_post(Inbox *inbox, Command *command) noexcept nogil:
    """False, and the command is freed: the loop has been shut, or there was no memory for the command (NULL)."""
    if command == NULL:
        return False
    mutex_lock(&inbox.lock)
    if inbox.waker == NULL:
        mutex_unlock(&inbox.lock)
        free(command)
        return False
    if inbox.commands == NULL:
        inbox.commands = command
    else:
        inbox.commands_last.next = command
    inbox.commands_last = command
    wake(inbox)
    mutex_unlock(&inbox.lock)
    return True


cdef void inbox_mark_dirty(Inbox *inbox, DirtyLink *link) noexcept nogil:
    """The log that it reads has grown. Costs one exchange while the loop has not got to it yet."""
    if exchange_full(&link.queued, 1):
        return
    mutex_lock(&inbox.lock)
    link.next = NULL
    if inbox.dirty == NULL:
        inbox.dirty = link
    else:
        inbox.dirty_last.next = link
    inbox.dirty_last = link
    wake(inbox)
    mutex_unlock(&inbox.lock)


cdef void inbox_nudge(Inbox *inbox) noexcept nogil:
    """Makes the loop look again at what it waits for."""
    mutex_lock(&inbox.lock)
    inbox.nudged = True
    wake(inbox)
    mutex_unlock(&inbox.lock)


cdef inline void wake(Inbox *inbox) noexcept nogil:
    # Under the lock, so that inbox_shut() cannot close the descriptor in between.
    if exchange_full(&inbox.asleep, 0) and inbox.waker != NULL:
        poller_wake(inbox.waker)


cdef void inbox_shut(Inbox *inbox) noexcept nogil:
    """Nobody is woken from now on: the waker may be closed."""
    mutex_lock(&inbox.lock)
    inbox.waker = NULL
    mutex_unlock(&inbox.lock)


cdef bint inbox_at_rest(Inbox *inbox) noexcept nogil:
    """Whether the loop waits, with nothing there that would wake it. Any thread; under the lock for the same reason."""
    cdef bint at_rest
    mutex_lock(&inbox.lock)
    # A loop raises its flag before it looks at the lists (inbox_sleep), so that the flag alone says nothing.
    at_rest = is_empty(inbox) and inbox.waker != NULL and load_acquire(&inbox.asleep) and (
        not poller_pending(inbox.waker))
    mutex_unlock(&inbox.lock)
    return at_rest


cdef void inbox_take(Inbox *inbox, Command **commands, DirtyLink **dirty, DirtyLink **dirty_last) noexcept nogil:
    mutex_lock(&inbox.lock)
    inbox.nudged = False
    commands[0], inbox.commands = inbox.commands, NULL
    dirty[0], dirty_last[0] = inbox.dirty, inbox.dirty_last
    inbox.dirty = inbox.dirty_last = NULL
    mutex_unlock(&inbox.lock)


cdef void inbox_awake(Inbox *inbox) noexcept nogil:
    """The loop looks by itself from now on: nobody has to wake it."""
    exchange_full(&inbox.asleep, 0)


cdef inline bint is_empty(Inbox *inbox) noexcept nogil:
    return inbox.commands == NULL and inbox.dirty == NULL and not inbox.nudged


cdef bint inbox_sleep(Inbox *inbox) noexcept nogil:
    """The loop is about to wait. False: something came meanwhile, so it must not."""
    cdef bint empty
    exchange_full(&inbox.asleep, 1)
    mutex_lock(&inbox.lock)
    empty = is_empty(inbox)
    mutex_unlock(&inbox.lock)
    return empty or exchange_full(&inbox.asleep, 0) == 0


# --- events: the loop puts, the shell takes -------------------------------------------------------------------------

cdef int outbox_init(Outbox *outbox) noexcept nogil:
    memset(outbox, 0, sizeof(Outbox))
    mutex_init(&outbox.lock)
    outbox.fd = notifier_open(&outbox.signal_fd)
    return outbox.fd


cdef void outbox_shut(Outbox *outbox) noexcept nogil:
    """Closes the descriptor; events can still be taken."""
    mutex_lock(&outbox.lock)
    if outbox.fd >= 0:
        notifier_close(outbox.fd, outbox.signal_fd)
        outbox.fd = -1
    mutex_unlock(&outbox.lock)


cdef void outbox_clear(Outbox *outbox) noexcept nogil:
    cdef Event *event
    while outbox.events != NULL:
        event = outbox.events
        outbox.events = event.next
        free(event)
    mutex_destroy(&outbox.lock)


cdef bint outbox_put(Outbox *outbox, EventKind kind, uint64_t token, int detail, int extra,
                     const uint8_t *data, uint32_t data_bytes) noexcept nogil:
    """Queues an event with a copy of the bytes; False: no memory."""
    cdef Event *event = <Event *>malloc(sizeof(Event) + data_bytes)
    if event == NULL:
        return False
    event.next = NULL
    event.kind, event.token, event.detail, event.extra = kind, token, detail, extra
    event.data_bytes = data_bytes
    if data_bytes:
        memcpy(event.data, data, data_bytes)
    mutex_lock(&outbox.lock)
    if kind == EVENT_ROOM and outbox.has_room:
        mutex_unlock(&outbox.lock)
        free(event)
        return True
    outbox.has_room = outbox.has_room or kind == EVENT_ROOM
    if outbox.events == NULL:
        outbox.events = event
    else:
        outbox.events_last.next = event
    outbox.events_last = event
    signal_once(outbox)
    mutex_unlock(&outbox.lock)
    return True


cdef inline void signal_once(Outbox *outbox) noexcept nogil:
    # Under the lock, as all of these.
    if not outbox.signaled and outbox.fd >= 0:
        outbox.signaled = True
        notifier_signal(outbox.signal_fd)


cdef inline void unsignal_if_empty(Outbox *outbox) noexcept nogil:
    if outbox.events == NULL and outbox.signaled and outbox.fd >= 0:
        notifier_clear(outbox.fd)
        outbox.signaled = False


cdef Event *outbox_take(Outbox *outbox, uint32_t limit) noexcept nogil:
    """The oldest `limit` events, a list that the caller frees; the descriptor stays readable while more wait."""
    cdef Event *first
    cdef Event *last
    cdef uint32_t count = 1
    mutex_lock(&outbox.lock)
    first = last = outbox.events
    if first != NULL and limit > 0:
        while True:
            outbox.has_room = outbox.has_room and last.kind != EVENT_ROOM
            if count >= limit or last.next == NULL:
                break
            last = last.next
            count += 1
        outbox.events = last.next
        last.next = NULL
    else:
        first = NULL
    unsignal_if_empty(outbox)
    mutex_unlock(&outbox.lock)
    return first

"""A list of the readers that have something to read, with one descriptor for all of them.

Who appends to a log puts its readers there, under the log's lock; a loop of the program's takes them. A reader is on it
once at most, and its link is its own: putting it there allocates nothing. The list's lock is the last of all: nothing
is taken inside it.
"""

from libc.string cimport memset

from fastfan._sync cimport mutex_destroy, mutex_init, mutex_lock, mutex_unlock
from fastfan._system cimport notifier_open, notifier_signal, notifier_clear, notifier_close


cdef int ready_init(ReadyList *ready) noexcept nogil:
    """Its descriptor, or -errno: then there is nothing to clear."""
    memset(ready, 0, sizeof(ReadyList))
    ready.fd = notifier_open(&ready.signal_fd)
    if ready.fd >= 0:
        mutex_init(&ready.lock)
    return ready.fd


cdef void ready_clear(ReadyList *ready) noexcept nogil:
    """Nobody knows it any more."""
    ready_shut(ready)
    mutex_destroy(&ready.lock)


cdef void ready_shut(ReadyList *ready) noexcept nogil:
    """Closes the descriptor; readers may still be put there and taken."""
    mutex_lock(&ready.lock)
    if ready.fd >= 0:
        notifier_close(ready.fd, ready.signal_fd)
        ready.fd = -1
    mutex_unlock(&ready.lock)


cdef void ready_put(ReadyList *ready, ReadyLink *link) noexcept nogil:
    """Again, before it was taken: nothing."""
    mutex_lock(&ready.lock)
    if not link.queued:
        link.queued, link.next, link.before = True, NULL, ready.last
        if ready.first == NULL:
            ready.first = link
        else:
            ready.last.next = link
        ready.last = link
        if not ready.signaled and ready.fd >= 0:
            ready.signaled = True
            notifier_signal(ready.signal_fd)
    mutex_unlock(&ready.lock)


cdef void ready_drop(ReadyList *ready, ReadyLink *link) noexcept nogil:
    """It is told of no more, and its memory may go."""
    mutex_lock(&ready.lock)
    if link.queued:
        unlink(ready, link)
    mutex_unlock(&ready.lock)


cdef bint ready_take(ReadyList *ready, uint64_t *token) noexcept nogil:
    """The token of the one that waits longest; False: none."""
    cdef ReadyLink *link
    mutex_lock(&ready.lock)
    link = ready.first
    if link != NULL:
        token[0] = link.token
        unlink(ready, link)
    mutex_unlock(&ready.lock)
    return link != NULL


cdef void unlink(ReadyList *ready, ReadyLink *link) noexcept nogil:
    # Under the lock.
    if link.before == NULL:
        ready.first = link.next
    else:
        link.before.next = link.next
    if link.next == NULL:
        ready.last = link.before
    else:
        link.next.before = link.before
    link.queued = False
    if ready.first == NULL and ready.signaled and ready.fd >= 0:
        notifier_clear(ready.fd)
        ready.signaled = False

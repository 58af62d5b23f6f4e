"""Ready queues: which readers have something to read, for one loop of the program's (rules in _ready.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._sync cimport mutex_t


cdef struct ReadyLink:
    # The first field of a reader: of it alone nothing is allocated, however often it is told of.
    ReadyLink *next
    ReadyLink *before
    uint64_t token
    bint queued

cdef struct ReadyList:
    mutex_t lock                # over all of it
    ReadyLink *first
    ReadyLink *last
    bint signaled
    int fd                      # readable while the list is not empty; -1: shut
    int signal_fd

cdef int ready_init(ReadyList *ready) noexcept nogil
cdef void ready_clear(ReadyList *ready) noexcept nogil
# Any thread:
cdef void ready_shut(ReadyList *ready) noexcept nogil
cdef void ready_put(ReadyList *ready, ReadyLink *link) noexcept nogil
cdef void ready_drop(ReadyList *ready, ReadyLink *link) noexcept nogil
cdef bint ready_take(ReadyList *ready, uint64_t *token) noexcept nogil

"""The C that asks the system: clock.h, poller.h and wire.h, each with its own contract."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "clock.h" nogil:
    uint64_t clock_ns()

cdef extern from "poller.h" nogil:
    struct poller:
        int fd
    struct poller_event:
        uint64_t token
        uint32_t ready
    enum:
        READY_READ, READY_WRITE, READY_HANGUP
    uint64_t POLLER_WAKE
    uint64_t POLLER_TICK
    int poller_open(poller *poll)
    void poller_close(poller *poll)
    int poller_fileno(poller *poll)
    int poller_add(poller *poll, int fd, uint64_t token)
    int poller_remove(poller *poll, int fd)
    void poller_rearm(poller *poll, int fd, uint32_t ready)
    int poller_wait(poller *poll, poller_event *events, int count, int timeout_ms)
    int poller_tick(poller *poll, uint64_t first_ns, uint64_t interval_ns)
    void poller_wake(poller *waker)
    int poller_pending(poller *waker)
    int notifier_open(int *signal_fd)
    void notifier_signal(int signal_fd)
    void notifier_clear(int fd)
    void notifier_close(int fd, int signal_fd)

cdef extern from "wire.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    int wire_prepare(int fd, int notsent_bytes)
    ssize_t wire_receive(int fd, void *buffer, size_t nbytes)
    ssize_t wire_send(int fd, const iovec *parts, int count)
    void wire_finish(int fd)
    void wire_close(int fd)
    void wire_reset(int fd)
    void wire_abandon(int fd)

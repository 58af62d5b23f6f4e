"""Core: what lives as long as the engine or any of its topics, whichever goes last.

    Engine ──► Core ──► Shared: pool, outbox, loops[0 .. n-1], an I/O thread for each
    Topic ──────┘                  (io_threads=0: one loop, which the host's turn() runs)

The threads are started last and joined first, once, in shut(). A child that was forked beside them has copies of all
descriptors and locks in whatever state they were: the guard closes the first and marks the engine orphaned, and every
call looks at that before it takes a lock. The child's copy of the memory is left as it is.
"""

import os

from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport calloc, free

from fastfan._loop cimport (
    Terms, loop_clear, loop_init, loop_orphan, loop_run, loop_shut, loop_stop,
)
from fastfan._mailbox cimport outbox_clear, outbox_init, outbox_shut
from fastfan._pool cimport LOOPS_MAX, pool_clear, pool_init
from fastfan._readers cimport readers_clear, readers_end_all, readers_init
from fastfan._sync cimport load_acquire, store_release
from fastfan._system cimport notifier_close
from fastfan._table cimport LOOP_SHIFT

from fastfan.errors import EngineClosed, MisuseError
from fastfan.memory import default_memory_limit


cdef extern from "threads.h" nogil:
    int thread_start(thread *started)
    void thread_join(thread *ended)
    int fork_guard_add(fork_guard *guard)
    void fork_guard_remove(fork_guard *guard)

# Seconds: a century, which nanoseconds in 64 bits hold with room to spare.
cdef double LONGEST = 3.2e9
# Bytes: so that sums of sizes do not overflow.
cdef size_t LANE_MOST = <size_t>1 << 62
cdef str OR_NONE = "give a number, or 0 for no limit"


cdef uint64_t duration_ns(str name, double seconds) except? 0xFFFFFFFFFFFFFFFF:
    # In this order, so that it is true of no NaN.
    if not 0 <= seconds <= LONGEST:
        raise MisuseError(f"{name}={seconds} is not from 0 to {LONGEST:g} s; give seconds in that range")
    return to_ns(seconds)


cdef uint64_t whole(str name, value, most=LANE_MOST, str cure="give a number in that range") except? 0xFFFFFFFFFFFFFFFF:
    if not 0 <= value <= most:
        raise MisuseError(f"{name}={value} is not from 0 to {most}; {cure}")
    return value


cdef class Core:
    """The base of Engine; of no use by itself."""

    def __cinit__(self, *, io_threads=1, max_memory_bytes=None, double write_timeout=10.0,
                  double close_deadline=5.0, int notsent_bytes=65536, lane_bytes=16 << 20,
                  double message_timeout=30.0, max_fragments=131072, max_control_frames=10000,
                  max_ignored_bytes=1 << 20):
        cdef Terms terms
        if not 0 <= io_threads <= LOOPS_MAX:
            raise MisuseError(f"io_threads={io_threads} is not from 0 to {LOOPS_MAX}; give the cores that may be used, "
                              "or 0 to call turn() yourself")
        if max_memory_bytes is None:
            max_memory_bytes = default_memory_limit()
        if max_memory_bytes < 1 << 20:
            raise MisuseError(f"max_memory_bytes={max_memory_bytes} is below 1048576; give the engine at least 1 MiB")
        if not (0 < write_timeout <= LONGEST and 0 < close_deadline <= LONGEST):
            raise MisuseError(f"write_timeout={write_timeout} and close_deadline={close_deadline} must be above 0 s "
                              f"and at most {LONGEST:g} s")
        if notsent_bytes < 0:
            raise MisuseError(f"notsent_bytes={notsent_bytes} is below 0; give bytes, or 0 for no limit")
        if lane_bytes < 0:
            raise MisuseError(f"lane_bytes={lane_bytes} is below 0; give bytes, or 0 for no lane")
        if not 0 < message_timeout <= LONGEST:
            raise MisuseError(f"message_timeout={message_timeout} must be above 0 s and at most {LONGEST:g} s")
        self.io_threads = io_threads
        terms.write_timeout_ns, terms.close_deadline_ns = to_ns(write_timeout), to_ns(close_deadline)
        terms.notsent_bytes, terms.lane_bytes = notsent_bytes, min(lane_bytes, LANE_MOST)
        terms.message_timeout_ns = to_ns(message_timeout)
        terms.max_fragments = whole("max_fragments", max_fragments, UINT32_MAX, OR_NONE)
        terms.max_controls = whole("max_control_frames", max_control_frames, UINT32_MAX, OR_NONE)
        terms.max_ignored_bytes = whole("max_ignored_bytes", max_ignored_bytes, LANE_MOST, OR_NONE)
        pool_init(&self.shared.pool, max_memory_bytes)
        set_up(self, &terms)

    def __dealloc__(self):
        cdef uint32_t index
        if self.shared.loops == NULL or self.shared.orphaned:
            return
        self.shut()
        for index in range(self.shared.count):
            loop_clear(&self.shared.loops[index])
        outbox_clear(&self.shared.outbox)
        readers_clear(&self.shared.readers)
        pool_clear(&self.shared.pool)
        free(self.shared.loops)
        free(self.threads)

    cdef int check_open(self) except -1:
        if load_acquire(&self.shared.orphaned):
            raise EngineClosed("the engine belongs to the process that this one was forked from; make a new one here")
        if self.closed:
            raise EngineClosed("the engine is closed; make a new one")
        return 0

    cdef Loop *loop_of(self, uint64_t token) noexcept nogil:
        """The loop that a connection's token names; NULL where there is none of that number."""
        cdef uint32_t index = (token >> LOOP_SHIFT) & 0xFF
        return &self.shared.loops[index] if index < self.shared.count else NULL

    cdef Loop *loop_for_new(self) noexcept nogil:
        """The one with the fewest connections."""
        cdef Loop *best = self.shared.loops
        cdef uint32_t index
        for index in range(1, self.shared.count):
            if load_acquire(&self.shared.loops[index].table.used) < load_acquire(&best.table.used):
                best = &self.shared.loops[index]
        return best

    cdef void shut(self) noexcept nogil:
        """Ends the threads and resets every connection; the memory stays. Again: does nothing."""
        cdef uint32_t index
        store_release(&self.shared.closed, 1)
        for index in range(<uint32_t>self.threads_running):
            loop_stop(&self.shared.loops[index])
        for index in range(<uint32_t>self.threads_running):
            thread_join(&self.threads[index])
        self.threads_running = 0
        readers_end_all(&self.shared.readers)
        for index in range(self.shared.count):
            if self.shared.loops[index].inbox.waker != NULL:
                loop_shut(&self.shared.loops[index])
        outbox_shut(&self.shared.outbox)
        # Last: a child forked meanwhile would find locks that this thread holds, in an engine that is not marked.
        if self.guarded:
            fork_guard_remove(&self.guard)
        self.guarded = False


cdef int set_up(Core core, Terms *terms) except -1:
    # What fails half-way is undone by __dealloc__.
    cdef int result
    cdef uint32_t index
    cdef uint32_t wanted = max(1, core.io_threads)
    core.threads = <thread *>calloc(wanted, sizeof(thread))
    core.shared.loops = <Loop *>calloc(wanted, sizeof(Loop))
    if core.shared.loops == NULL or core.threads == NULL:
        raise MemoryError(f"the system has no memory for {wanted} loops")
    readers_init(&core.shared.readers)
    check(outbox_init(&core.shared.outbox))
    for index in range(wanted):
        check(loop_init(&core.shared.loops[index], &core.shared, index, terms,
                        int.from_bytes(os.urandom(8), "little")))
        core.shared.count += 1
    core.guard.in_child, core.guard.of = orphan, &core.shared
    check(fork_guard_add(&core.guard))
    core.guarded = True
    for index in range(<uint32_t>core.io_threads):
        core.threads[index].run, core.threads[index].of = run, <void *>&core.shared.loops[index]
        core.threads[index].name = "fastfan-io"
        result = thread_start(&core.threads[index])
        if result < 0:
            raise OSError(-result, f"the system has no thread for io_threads={core.io_threads} "
                                   f"({os.strerror(-result)}); stop others, or raise the limit (ulimit -u)")
        core.threads_running += 1
    return 0


cdef int check(int result) except -1:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return 0


cdef void run(void *of) noexcept nogil:
    loop_run(<Loop *>of)


cdef void orphan(void *of) noexcept nogil:
    """In a forked child: its copies of the descriptors would keep the parent's connections open. No lock, no shutdown:
    the connections are the parent's."""
    cdef Shared *shared = <Shared *>of
    cdef uint32_t index
    store_release(&shared.orphaned, 1)
    for index in range(shared.count):
        loop_orphan(&shared.loops[index])
    if shared.outbox.fd >= 0:
        notifier_close(shared.outbox.fd, shared.outbox.signal_fd)

"""Core: the memory and the loops that an engine and its topics share (rules in _core.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from fastfan._loop cimport Loop, Shared


cdef extern from "threads.h" nogil:
    struct thread:
        void (*run)(void *of) noexcept nogil
        void *of
        const char *name
    struct fork_guard:
        void (*in_child)(void *of) noexcept nogil
        void *of


cdef inline uint64_t to_ns(double seconds) noexcept nogil:
    return <uint64_t>(seconds * 1e9)

# Arguments of Python's, out of range: MisuseError with their name.
cdef uint64_t duration_ns(str name, double seconds) except? 0xFFFFFFFFFFFFFFFF
cdef uint64_t whole(str name, value, most=*, str cure=*) except? 0xFFFFFFFFFFFFFFFF


cdef class Core:
    cdef Shared shared
    cdef thread *threads
    cdef readonly int io_threads
    cdef int threads_running
    cdef bint guarded
    cdef bint closed
    cdef uint64_t turning       # exchanged: 1 while a thread is in turn() or close()
    cdef fork_guard guard
    cdef int check_open(self) except -1
    cdef void shut(self) noexcept nogil
    cdef Loop *loop_of(self, uint64_t token) noexcept nogil
    cdef Loop *loop_for_new(self) noexcept nogil

"""Core: the memory and the loop that an engine and its topics share (rules in _core.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._pool cimport Pool
from fastfan._loop cimport Loop


cdef inline uint64_t to_ns(double seconds) noexcept nogil:
    return <uint64_t>(seconds * 1e9)


cdef class Core:
    cdef Pool pool
    cdef Loop loop
    cdef bint ready             # pool and loop are set up
    cdef bint closed
    cdef uint64_t turning       # exchanged: 1 while a thread is in turn() or close()
    cdef int check_open(self) except -1

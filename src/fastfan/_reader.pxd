"""Reader (rules in _reader.pyx)."""

from fastfan._core cimport Core
from fastfan._cursor cimport ReaderState
from fastfan._readers cimport ReaderPlace
from fastfan._ready cimport ReadyList
from fastfan._topic cimport Topic


cdef class ReadyQueue:
    cdef ReadyList state
    cdef Core core
    cdef bint made
    cdef object __weakref__

cdef class Reader:
    cdef ReaderState state
    cdef ReadyQueue queue       # which has to outlive it
    cdef readonly Topic topic
    cdef bint closed
    cdef int waiting            # threads in wait(), which the notifier has to outlive
    cdef object __weakref__
    cdef int check(self) except -1
    cdef int check_open(self) except -1
    cdef ReaderPlace look(self) noexcept
    cdef void close_notifier(self) noexcept

"""Connections that wait for their turn or for something elsewhere (see _waitlist.pyx)."""

from fastfan._cursor cimport Sink, WaitList

cdef void waitlist_add(WaitList *waiting, Sink *sink) noexcept nogil
cdef void waitlist_remove(Sink *sink) noexcept nogil
cdef Sink *waitlist_take(WaitList *waiting) noexcept nogil

"""The list of views with something to send (see _dirty.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from fastfan._cursor cimport TopicState, View
from fastfan._loop cimport Loop
from fastfan._mailbox cimport DirtyLink

cdef void dirty_mark(Loop *loop, View *view) noexcept nogil
cdef void dirty_add(Loop *loop, DirtyLink *first, DirtyLink *last) noexcept nogil
cdef void dirty_mark_all(Loop *loop, TopicState *topic, uint64_t viewers) noexcept nogil

"""The list of topics with something to send (see _dirty.pyx)."""

from fastfan._cursor cimport TopicState
from fastfan._loop cimport Loop

cdef void dirty_mark(Loop *loop, TopicState *topic) noexcept nogil
cdef void dirty_add(Loop *loop, TopicState *first, TopicState *last) noexcept nogil

"""Limits carried out (rules in _limits.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._cursor cimport TopicState
from fastfan._loop cimport Loop

cdef void limits_note_lag(Loop *loop, TopicState *topic) noexcept nogil
cdef void limits_review_all(Loop *loop) noexcept nogil
cdef void limits_apply(Loop *loop) noexcept nogil
cdef void limits_answer_room(Loop *loop) noexcept nogil

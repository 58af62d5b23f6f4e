"""Limits carried out (rules in _limits.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from fastfan._cursor cimport View
from fastfan._loop cimport Loop

cdef void limits_note_lag(Loop *loop, View *view) noexcept nogil
cdef void limits_note_span(Loop *loop, View *view) noexcept nogil
cdef void limits_tell_waiting(Loop *loop, View *view) noexcept nogil
cdef void limits_unpace(Loop *loop) noexcept nogil
cdef void limits_review_all(Loop *loop) noexcept nogil
cdef void limits_apply(Loop *loop) noexcept nogil
cdef void limits_answer_room(Loop *loop) noexcept nogil

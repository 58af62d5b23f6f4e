"""The lag rules: who is paced, who is too far behind, who is the farthest (rules in _lag.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from fastfan._cursor cimport Sink, TopicState, View
from fastfan._place cimport Least

cdef uint64_t lag_span(View *view) noexcept nogil
cdef bint lag_needs_no_review(View *view) noexcept nogil
cdef bint lag_review_due(View *view, uint64_t now_ns) noexcept nogil
cdef bint lag_review(View *view, uint64_t now_ns, Sink **doomed) noexcept nogil
cdef void lag_skip_to_newest(Sink *sink) noexcept nogil
cdef void lag_note_pass(View *view) noexcept nogil
cdef bint lag_catches_up(Sink *sink, uint64_t now_ns) noexcept nogil
cdef bint lag_leaves(Sink *sink) noexcept nogil
# Any thread, under the log's lock:
cdef Least lag_least(View *view, uint64_t now_ns) noexcept nogil
cdef bint lag_is_too_old(View *view, uint64_t time_ns, uint64_t now_ns) noexcept nogil
cdef bint lag_decide_pacing(TopicState *topic, bint fewer) noexcept nogil
cdef bint lag_paced_without(TopicState *topic, bint moving, bint lagging, bint over) noexcept nogil
# The thread of the loop:
cdef bint lag_holds(Sink *publisher) noexcept nogil
cdef Sink *lag_farthest(View *view) noexcept nogil

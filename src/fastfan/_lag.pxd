"""The lag rules: who is paced, who is too far behind, who is the farthest (rules in _lag.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from fastfan._cursor cimport Sink, TopicState

cdef uint64_t lag_span(TopicState *topic) noexcept nogil
cdef bint lag_review_due(TopicState *topic, uint64_t now_ns) noexcept nogil
cdef void lag_review(TopicState *topic, uint64_t now_ns, Sink **doomed) noexcept nogil
cdef bint lag_holds(TopicState *topic, Sink *publisher) noexcept nogil
cdef Sink *lag_farthest(TopicState *topic) noexcept nogil

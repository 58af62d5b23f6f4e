"""The lag rules for readers in this process (rules in _readers_lag.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._cursor cimport ReaderHub, ReaderState, TopicState

# Who appends, under the log's lock:
cdef bint readers_review_due(TopicState *topic) noexcept nogil
cdef bint readers_review(TopicState *topic, uint64_t now_ns) noexcept nogil
cdef bint readers_is_over(ReaderState *reader, uint64_t now_ns) noexcept nogil
cdef void readers_skip_to_newest(TopicState *topic) noexcept nogil
# An I/O thread:
cdef bint readers_review_all(ReaderHub *hub, uint64_t now_ns, uint64_t resumed_ns) noexcept nogil
cdef bint readers_paced(ReaderHub *hub) noexcept nogil
cdef uint64_t readers_span(ReaderHub *hub) noexcept nogil
cdef bint readers_evict(ReaderHub *hub) noexcept nogil

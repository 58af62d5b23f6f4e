"""The express lane (rules in _lane.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._cursor cimport Sink
from fastfan._loop cimport Loop

cdef void lane_take(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil
cdef ssize_t lane_fill(Loop *loop, Sink *sink, ssize_t *wanted) noexcept nogil
cdef void lane_tick(Loop *loop, Sink *sink, uint64_t step_ns) noexcept nogil
cdef void lane_drop(Loop *loop, Sink *sink) noexcept nogil

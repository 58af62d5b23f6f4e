"""The express lane (rules in _lane.pyx)."""

from libc.stdint cimport uint8_t, uint32_t

from fastfan._cursor cimport Sink
from fastfan._loop cimport Loop

cdef void lane_take(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil
cdef ssize_t lane_fill(Loop *loop, Sink *sink, ssize_t *wanted) noexcept nogil
cdef void lane_tick(Loop *loop, Sink *sink) noexcept nogil
cdef void lane_drop_tail(Loop *loop, Sink *sink) noexcept nogil

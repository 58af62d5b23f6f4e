"""Clocks of connections: stalled, closing, pinged (rules in _clocks.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._loop cimport Loop

cdef void clocks_start(Loop *loop) noexcept nogil
cdef void clocks_judge(Loop *loop, bint polled_all) noexcept nogil

"""Clocks of connections: stalled, closing, pinged (rules in _clocks.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._loop cimport Loop

cdef void clocks_start(Loop *loop) noexcept nogil
cdef void clocks_call_at(Loop *loop, uint64_t at_ns) noexcept nogil
cdef void clocks_on_tick(Loop *loop) noexcept nogil
cdef void clocks_judge(Loop *loop, bint polled_all) noexcept nogil

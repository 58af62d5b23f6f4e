"""Clocks of connections: stalled, closing, pinged (rules in _clocks.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._loop cimport Loop

cdef void clocks_start(Loop *loop) noexcept nogil
cdef void clocks_tick(Loop *loop) noexcept nogil
cdef void clocks_beat(Loop *loop, uint64_t interval_ns, uint64_t deadline_ns, uint64_t longest_ns) noexcept nogil

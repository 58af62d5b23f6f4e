"""What one connection may send in a second (rules in _rates.pyx)."""

from libc.stdint cimport uint64_t

from fastfan._cursor cimport Cause, Sink
from fastfan._loop cimport Loop

cdef void rates_note_pause(Loop *loop) noexcept nogil
cdef Cause rates_note_control(Loop *loop, Sink *sink) noexcept nogil
cdef Cause rates_note_ignored(Loop *loop, Sink *sink, uint64_t frames, uint64_t payload_bytes) noexcept nogil

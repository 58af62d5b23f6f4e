"""Messages that arrive in pieces (rules in _incoming.pyx)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

from fastfan._codec cimport client_frame
from fastfan._cursor cimport Cause, Sink
from fastfan._loop cimport Loop

cdef Cause incoming_begin(Loop *loop, Sink *sink, client_frame *frame) noexcept nogil
cdef Cause incoming_piece(Loop *loop, Sink *sink, const uint8_t *data, size_t data_bytes) noexcept nogil
cdef bint incoming_wants_fill(Loop *loop, Sink *sink) noexcept nogil
cdef uint8_t *incoming_room(Loop *loop, Sink *sink, size_t *room_bytes) noexcept nogil
cdef Cause incoming_filled(Sink *sink, uint8_t *data, size_t data_bytes) noexcept nogil
cdef Cause incoming_end_frame(Loop *loop, Sink *sink, bint *complete) noexcept nogil
cdef bint incoming_publish(Loop *loop, Sink *sink) noexcept nogil
cdef void incoming_drop(Loop *loop, Sink *sink) noexcept nogil
cdef bint incoming_is_overdue(Loop *loop, Sink *sink, uint64_t step_ns) noexcept nogil

"""Sinks: the write side of a connection (rules in _sink.pyx)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastfan._cursor cimport Sink, State


cdef enum Flush:
    DRAINED         # nothing is owed
    MORE            # the kernel took all that one call may carry; call again
    BLOCKED         # the socket is full; its readiness will be told
    DEAD            # the kernel refuses: only reading is left

cdef bint sink_move(Sink *sink, State state) noexcept nogil
cdef bint sink_queue_control(Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil
cdef bint sink_queue_close(Sink *sink, const uint8_t *data, uint32_t data_bytes, bint after_log) noexcept nogil
cdef uint32_t sink_control_left(Sink *sink) noexcept nogil
cdef bint sink_owes(Sink *sink) noexcept nogil
cdef Flush sink_flush(Sink *sink, uint64_t now_ns, uint64_t *sent_bytes) noexcept nogil
cdef void sink_free_buffers(Sink *sink) noexcept nogil

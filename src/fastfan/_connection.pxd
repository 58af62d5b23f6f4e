"""One connection's life on its loop (rules in _connection.pyx)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastfan._cursor cimport Cause, Sink, View
from fastfan._loop cimport Loop

cdef void connection_receive(Loop *loop, Sink *sink) noexcept nogil
cdef ssize_t connection_read(Loop *loop, Sink *sink, uint8_t *room, size_t room_bytes) noexcept nogil
cdef void connection_lend(Loop *loop, Sink *sink, const uint8_t *data, uint32_t data_bytes) noexcept nogil
cdef void connection_return(Loop *loop, Sink *sink) noexcept nogil
cdef bint must_wait(Loop *loop, Sink *sink) noexcept nogil
cdef void connection_flush(Loop *loop, Sink *sink) noexcept nogil
cdef void connection_condemn(Loop *loop, Sink *sink, Cause cause) noexcept nogil
cdef void connection_end(Loop *loop, Sink *sink, Cause cause, bint reset) noexcept nogil
cdef void connection_note_left(Loop *loop, Sink *sink) noexcept nogil
cdef void connection_leave_view(Loop *loop, Sink *sink, bint keep_frame) noexcept nogil
cdef void connection_abandon(Loop *loop, Sink *sink) noexcept nogil
cdef void connections_read_on(Loop *loop) noexcept nogil
cdef void connections_bury(Loop *loop) noexcept nogil
cdef void note_live(Loop *loop, View *view) noexcept nogil

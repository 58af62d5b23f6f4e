"""What is left of a frame that a cursor has gone away from (rules in _rest.pyx)."""

from fastfan._cursor cimport Sink

# Under log.lock:
cdef void rest_pin(Sink *sink) noexcept nogil
# The thread of its loop:
cdef bint rest_is_alone(Sink *sink) noexcept nogil
cdef void rest_drop(Sink *sink) noexcept nogil

"""Topic and Partial (rules in _topic.pyx)."""

from libc.stdint cimport uint8_t, uint64_t

from fastfan._core cimport Core
from fastfan._cursor cimport TopicState
from fastfan._embedding cimport fastfan_topic
from fastfan._log cimport Partial as PartialState


cdef struct Piece:
    # One message to append; the bytes are its owner's.
    const uint8_t *data
    size_t data_bytes
    uint8_t opcode

cdef struct Batch:
    Piece *pieces
    size_t count
    size_t frame_bytes      # of all their frames
    uint64_t last_offset

cdef enum Appended:
    APPENDED
    OVER_LIMIT
    NO_MEMORY

cdef Appended append_batch(TopicState *state, Batch *batch, bint strict) noexcept nogil

cdef class Topic:
    cdef TopicState state
    cdef fastfan_topic handle   # what embedders name it by
    cdef Core core
    cdef readonly str name
    cdef object __weakref__
    cdef uint64_t append(self, Piece *pieces, size_t count, bint strict) except 0

# The one way to make a Topic: only the engine knows whether there is one of that name.
cdef Topic topic_new(Core core, str name)

cdef int to_policy(str name) except -1

cdef class Partial:
    cdef PartialState state
    cdef Topic topic
    cdef bint text
    cdef uint64_t busy      # exchanged: 1 while a thread is in extend() or publish()
    cdef int enter(self) except -1
    cdef void leave(self) noexcept
